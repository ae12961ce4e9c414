"""What Snakemake asks of the package: the settings of each job, the code that it runs, and how a run fares."""
