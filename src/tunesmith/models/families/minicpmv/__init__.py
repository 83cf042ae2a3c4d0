"""MiniCPM-V 2.6, 4.0, 4.5 and MiniCPM-o 2.6: published folders read as they are, by code of ours."""
