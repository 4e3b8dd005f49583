import sensorium as sn
from sensorium.encoders.cache.job import Options
from sensorium.encoders.cache.states import open_states


def main() -> None:
    encoder = {"name": "efflite0", "weights": "random"}  # untrained: leave the second key out for real use
    data = sn.encode(sn.open_dataset("demo"), encoder, name="cover", options=Options(workers=1))
    x, present = data.features("cover")  # pooled: float32 [I, P], bool [I]
    with open_states("cover", dataset=data) as states:  # refuses what is stale
        h, there = states.take([3, 1, 0])  # float32 [n, K, D], bool [n]; token = item id + 1, 0 = padding
        top, there = states.take([3, 1, 0], layers=[states.layers[-1]])  # other layers are not read
    print(x.shape, present.sum(), tuple(h.shape), there.tolist(), tuple(top.shape))


if __name__ == "__main__":  # decoding processes import this file
    main()
