FROM vllm/vllm-openai:v0.19.1
ENV P=80
RUN pip install a \
  # why
  && echo
ENTRYPOINT ["vllm", "serve"]
CMD ["m", \
 "--x"]
