"""The engines that share a step between processes, behind one narrow protocol (`parallel.Parallel`)."""
