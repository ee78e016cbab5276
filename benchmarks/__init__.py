"""Speed, each time as a ratio to plain diffusers in one run; ``docs/performance.md`` says how and what came out."""
