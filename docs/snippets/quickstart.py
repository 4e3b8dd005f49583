import sensorium as sn

data = sn.open_dataset("demo")  # a small made-up catalogue, generated on first use
sn.encode(data, "tfidf-svd")  # titles and descriptions become vectors

run = sn.run({"data": {"dataset": "demo"}, "model": "vbpr", "training": {"epochs": 5}}, out="runs/first")
print(run.result["test"]["metrics"])

for item in sn.recommend(run.path, user="u0001", k=5).answers[0].items:
    print(item.rank, item.title, round(item.score, 2))
