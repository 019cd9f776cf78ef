FROM vllm/vllm-openai
CMD ["--model", "m"]
