"""Speed and agreement against peers. Scenario ids are permanent; results are dated files in `results/`."""
