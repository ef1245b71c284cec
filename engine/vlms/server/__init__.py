"""VLMs that run in a server on this machine (Ollama, llama.cpp, LM Studio, vLLM) and speak OpenAI's API over HTTP.

Nothing here imports torch or transformers. decisions.md#local-servers says which addresses and models are refused.
"""
