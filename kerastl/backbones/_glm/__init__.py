"""The GLM family: causal Transformers with rotary positions, grouped keys and values, RMSNorm and SwiGLU.

Sources: GLM-130B (Zeng et al. 2022, https://arxiv.org/abs/2210.02414), ChatGLM (GLM team 2024,
https://arxiv.org/abs/2406.12793); sizes from the published config.json of ChatGLM2-6B, ChatGLM3-6B and GLM-4-9B.
"""
