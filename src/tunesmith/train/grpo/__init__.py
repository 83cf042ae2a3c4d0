"""Stage grpo: answers drawn from the model, rewarded, and learned from by TRL's trainer."""
