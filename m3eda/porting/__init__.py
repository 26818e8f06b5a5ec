"""A design carried to another technology: sizes, limits and supplies mapped, starts rescaled."""
