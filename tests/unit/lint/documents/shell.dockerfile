FROM a
ENV P=80
CMD exec vllm serve m \
  --port $P
