def gozk(ctx):
    return []
def kazoo(ctx):
    return []
