"""What many trials or queries say together: curves, intervals, judged validators."""
