"""Whether a published folder means here what it means to the code that was published with it.

    python -m benchmarks.published_model FOLDER [--images a.jpg b.jpg] [--dtype bfloat16 --device cuda]

asks the folder's own remote code and Tunesmith the same, and prints how ids, patches and logits differ. For folders
whose models transformers has no class for: MiniCPM-V 2.6 to 4.5, InternLM2 and 2.5, MiniCPM. The code runs in an
environment of its own (benchmarks/peers/published.txt, made on first use); one that imports more packages, as that of
MiniCPM-o does, needs them there: give such an environment by --python. Sound is not asked about.
"""
