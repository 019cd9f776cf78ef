"""A relocatable Python, built from Debian's own source package: it runs from any folder of any Debian 12 machine.

Debian's interpreter can't be moved: it looks for its modules below /usr, and has no site-packages. Built here it finds
its modules beside itself, and carries the libraries that it needs beyond glibc in `lib/`: an RPATH relative to the
executable, which holds for the extension modules and for those libraries too (a RUNPATH would not).
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.errors import LabFailed
from lab.host import follow, run
from lab.progress import Say

SERIES = "3.11"
PREFIX = "/opt/slipway-python"  # replaced in text files when the package is linked; nothing is ever installed there
LIBRARIES = ("libssl-dev", "zlib1g-dev", "libffi-dev", "libsqlite3-dev", "liblzma-dev", "libbz2-dev", "uuid-dev")
TOOLS = ("gcc", "libc6-dev", "make")
# Built only where their headers happen to lie about; left out, so that every machine builds the same.
DISABLED = "_tkinter readline _curses _curses_panel _gdbm _dbm nis ossaudiodev spwd"
GLIBC = re.compile(r"(ld-linux-x86-64|lib(c|m|dl|pthread|rt|util|resolv))\.so\.\d+")
UNWANTED = (
    "idlelib",
    "tkinter",
    "turtledemo",
    "test",
    "lib2to3/tests",
    "ctypes/test",
    "distutils/tests",
    "unittest/test",
)
SIGN_OF_LIFE_S = 10.0


def build(scratch: Path, say: Say) -> tuple[Path, str]:
    """The tree, ready to be packed, and its version; everything lies below `scratch`."""
    install_build_packages(say)
    archive = fetch_source(scratch, say)
    version = archive.name.partition("_")[2].removesuffix(".orig.tar.gz")
    source, root = scratch / "source", scratch / "root"
    source.mkdir()
    run(["tar", "xf", archive, "-C", source, "--strip-components=1"])
    (source / "Modules" / "Setup.local").write_text(f"*disabled*\n{DISABLED}\n")
    jobs = str(os.cpu_count() or 1)
    # The dollar sign passes make and the shell that make starts.
    link = "LINKFORSHARED=-Xlinker -export-dynamic -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/../lib'"
    options = f'--prefix={PREFIX} --disable-test-modules --without-ensurepip OPT="-DNDEBUG -fwrapv -O2"'
    configure = f'cd "$1" && exec ./configure {options}'
    follow(["sh", "-c", configure, "sh", source], alive(say, f"python: configuring {version}"))
    make: list[str | Path] = ["nice", "env", "SOURCE_DATE_EPOCH=315532800", "make", "-C", source, link]
    follow([*make, "-j", jobs, "all"], alive(say, f"python: compiling {version}"))
    follow([*make, f"DESTDIR={root}", "install"], alive(say, "python: installing into the package"))
    tree = root / PREFIX.lstrip("/")
    prune(tree)
    bundle(tree)
    return tree, version


def install_build_packages(say: Say) -> None:
    """Install by apt what the build needs and this machine lacks; LabFailed tells an ordinary user what to run."""
    wanted = [*TOOLS, *LIBRARIES]
    known = run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n", *wanted], check=False)
    lacking = [name for name in wanted if f"{name} installed" not in known.splitlines()]
    if not lacking:
        return
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=600", *lacking]
    if os.geteuid() != 0:
        raise LabFailed(
            f"python: found no {', '.join(lacking)} here, wanted them to build the lab's Python\n"
            f"  what to do: sudo {' '.join(command)}"
        )
    say(f"python: installing {', '.join(lacking)}")
    update_package_lists(*lacking)
    follow(command, alive(say, "python: installing what the build needs"))


def update_package_lists(*wanted: str) -> None:
    """Read apt's lists if they do not know these packages: on a new image they are empty."""
    known = run(["apt-cache", "policy", *wanted], check=False)
    if known.count("Candidate:") - known.count("Candidate: (none)") < len(wanted) and os.geteuid() == 0:
        run(["apt-get", "update", "-q"])


def fetch_source(scratch: Path, say: Say) -> Path:
    """The upstream tarball of Debian's source package, checked by apt against the archive's signature."""
    sources, lists = scratch / "apt" / "sources", scratch / "apt" / "lists"
    (lists / "partial").mkdir(parents=True)
    sources.mkdir()
    for path in [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]:
        if path.suffix in (".list", ".sources") and path.exists():
            (sources / path.name).write_text(source_entries(path.read_text(), deb822=path.suffix == ".sources"))
    # This machine's own sources, with `deb-src` for `deb`, and lists of our own: nothing of the machine changes.
    own = {
        "Dir::Etc::SourceList": "/dev/null", "Dir::Etc::SourceParts": sources, "Dir::State::Lists": lists,
        "Dir::Cache::pkgcache": "", "Dir::Cache::srcpkgcache": "", "APT::Sandbox::User": "root",
    }  # fmt: skip
    options = [word for name, value in own.items() for word in ("-o", f"{name}={value}")]
    say(f"python: fetching the source of python{SERIES} from this machine's Debian mirror")
    run(["apt-get", *options, "update", "-q"], check=False)  # one source that fails is no harm; the next line tells
    fetch = 'cd "$1" && shift && exec apt-get "$@"'
    run(
        ["sh", "-c", fetch, "sh", scratch, *options, "source", "-q", "--download-only", "--tar-only", f"python{SERIES}"]
    )
    return next(scratch.glob(f"python{SERIES}_*.orig.tar.*"))


def source_entries(text: str, *, deb822: bool) -> str:
    """The source counterpart of an apt sources file, less the security archive, whose sources mirrors often lack."""
    if deb822:
        stanzas = [stanza for stanza in re.split(r"\n\s*\n", text) if not re.search(r"(?m)^Suites:.*security", stanza)]
        return "\n\n".join(re.sub(r"(?m)^Types:.*$", "Types: deb-src", stanza) for stanza in stanzas)
    lines = [line for line in text.splitlines() if line.startswith("deb ") and "security" not in line]
    return "".join(f"deb-src {line.removeprefix('deb ')}\n" for line in lines)


def prune(tree: Path) -> None:
    """Take out the tests, the static libraries, the byte code and the editor."""
    library = tree / "lib" / f"python{SERIES}"
    for folder in [tree / "share", *(library / name for name in UNWANTED), *sorted(tree.rglob("__pycache__"))]:
        shutil.rmtree(folder, ignore_errors=True)
    for path in [*tree.rglob("*.a"), *(tree / "bin").glob("idle*")]:
        path.unlink(missing_ok=True)
    (tree / "bin" / "python").symlink_to(f"python{SERIES}")


def bundle(tree: Path) -> None:
    """Copy the libraries beyond glibc that the extension modules need into `lib/`."""
    modules = sorted((tree / "lib" / f"python{SERIES}" / "lib-dynload").glob("*.so"))
    for name, path in needed(run(["ldd", tree / "bin" / f"python{SERIES}", *modules])):
        target = tree / "lib" / name
        if not target.exists():
            shutil.copyfile(path, target)
            target.chmod(0o644)


def needed(ldd: str) -> Iterator[tuple[str, Path]]:
    """Names and files of the libraries beyond glibc in what ldd printed; LabFailed if one was not found."""
    for name, path in re.findall(r"^\s*(\S+) => (.+?)(?: \(0x[0-9a-f]+\))?$", ldd, re.MULTILINE):
        if path == "not found":
            raise LabFailed(
                f"python: the new interpreter needs {name}, found none on this machine; install the package that has it"
            )
        if not GLIBC.fullmatch(name):
            yield name, Path(path)


def alive(say: Say, doing: str) -> Callable[[str], None]:
    """Says at once what is being done, and every ten seconds that it still is."""
    said_s = time.monotonic()
    say(doing)

    def line(_: str) -> None:
        nonlocal said_s
        if time.monotonic() - said_s > SIGN_OF_LIFE_S:
            said_s = time.monotonic()
            say(f"{doing}, still at it")

    return line
