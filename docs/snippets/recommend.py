import sensorium as sn

run = sn.run({"data": {"dataset": "demo"}, "model": "itemknn"}, out="runs/itemknn")
found = sn.recommend(run.path, users=["u0001", "nobody"], k=3)
for answer in found.answers:
    print(answer.user_id, [item.title for item in answer.items], answer.note)
