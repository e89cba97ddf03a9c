def run(ctx):
    return []
