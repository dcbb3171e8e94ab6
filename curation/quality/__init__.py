"""Quality: rules, language and the judgement over both."""
