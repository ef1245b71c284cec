"""Scan and caption photos with several processes on this machine, or on the machines of a Ray cluster.

It may import `engine.captioning`, `engine.recognition`, `engine.session` and what is below them; nothing else imports
Ray. The driver reads files, writes sidecars and the feature cache; workers hold the models and write nothing.
"""
