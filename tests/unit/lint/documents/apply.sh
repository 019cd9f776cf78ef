kubectl apply -f - <<EOF
apiVersion: v1
spec:
  containers:
  - args: [vllm, serve, m]
EOF
