"""What predictions of answers are worth: every row once, intervals over students."""
