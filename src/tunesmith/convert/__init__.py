"""From other tools' files to folders that load here: XTuner's checkpoints, adapters and LLaVA folders."""
