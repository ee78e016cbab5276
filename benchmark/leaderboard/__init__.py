"""The leaderboard: one static page rendered from result JSONs (``mema leaderboard build --config configs/demo.yaml``).

The page is one file: style, script and pictures are inside, and its policy forbids any request.
"""
