cat <<EOF | kubectl apply -f -
apiVersion: v1
spec:
  containers:
  - args: [vllm, serve, m]
EOF
