"""Room 4: arrays -> Figures and tables; loads no run."""
