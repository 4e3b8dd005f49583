"""Files as publishers distribute them, small: what the tests of the readers read."""

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl


def write_text(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """Write text, gzip where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode(encoding)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def json_lines(path: Path, records: list[Any]) -> Path:
    """Write records, one a line; a text is written as it is."""
    lines = [record if isinstance(record, str) else json.dumps(record, ensure_ascii=False) for record in records]
    return write_text(path, "\n".join(lines) + "\n")


def movielens_100k(root: Path) -> Path:
    """u.data, u.item in Latin-1, u.user: three films, three people, six ratings."""
    flags = "0|" * 17 + "1|0"
    write_text(
        root / "u.data", "196\t242\t3\t881250949\n186\t302\t4\t891717742\n22\t242\t1\t878887116\n22\t302\t5\t9\n"
    )
    films = [
        f"242|Kolya (1996)|24-Jan-1997||http://us.imdb.com/M/title-exact?Kolya%20(1996)|{flags}",
        "302|L.A. Confidential (1997)|01-Jan-1997|||0|0|0|0|0|0|1|0|0|0|1|0|0|1|0|0|1|0|0",
        f"1001|Misérables, Les (1995)|01-Jan-1995|||{flags}",
    ]
    write_text(root / "u.item", "\n".join(films) + "\n", "latin-1")
    write_text(root / "u.user", "196|49|M|writer|55105\n186|7|F|student|99999\n22|56|M|other|V3N4P\n")
    return root


def movielens_1m(root: Path) -> Path:
    """ratings.dat, movies.dat in Latin-1, users.dat."""
    write_text(root / "ratings.dat", "1::1193::5::978300760\r\n1::661::3::978302109\r\n2::1193::4::978298413\r\n")
    write_text(
        root / "movies.dat",
        "1193::One Flew Over the Cuckoo's Nest (1975)::Drama\n"
        '661::James "and" the Giant Peach (1996)::Animation|Musical\n'
        "73::Misérables, Les (1995)::Drama|Musical\n",
        "latin-1",
    )
    write_text(root / "users.dat", "1::F::1::10::48067\n2::M::56::16::70072\n")
    return root


def movielens_csv(root: Path) -> Path:
    """The CSV editions, with a byte order mark and carriage returns, a quoted title, tags and links."""
    write_text(
        root / "ratings.csv",
        "\ufeffuserId,movieId,rating,timestamp\r\n1,296,5.0,1147880044\r\n1,306,3.5,1147868817\r\n2,296,0.5,1147868828\r\n"
        "2,306,0.0,1147868828\r\n2,5,4.0,-5\r\n3,5,4.0,1147868828\r\n",
    )
    write_text(
        root / "movies.csv",
        'movieId,title,genres\n296,"Pulp Fiction, ""uncut"" (1994)",Comedy|Crime\n306,Three Colors: Red (1994),Drama\n'
        "5,Film (1960),(no genres listed)\n",
    )
    write_text(root / "links.csv", "movieId,imdbId,tmdbId\n296,0110912,680\n306,0111495,110\n")
    write_text(
        root / "tags.csv",
        "userId,movieId,tag,timestamp\n1,296,Cult,1147880044\n2,296,cult,1147880044\n2,296,noir,1147880044\n",
    )
    return root


REVIEWS_2023: list[Any] = [
    {"user_id": "AE1", "asin": "B000000001", "parent_asin": "B00000000P", "rating": 5.0, "timestamp": 1588687728923,
     "title": "Good", "text": "Very", "images": [], "helpful_vote": 0, "verified_purchase": True},
    {"user_id": "AE1", "asin": "B000000001", "parent_asin": "B00000000P", "rating": 5.0, "timestamp": 1588687728923,
     "title": "Good", "text": "Very", "images": [], "helpful_vote": 0, "verified_purchase": True},
    {"user_id": "AE2", "asin": "B000000002", "parent_asin": "B00000000P", "rating": 4.0, "timestamp": 1588687729000},
    {"user_id": "AE2", "asin": "B000000003", "parent_asin": "B000000003", "rating": 3.0, "timestamp": -2208988800000},
    {"user_id": "AE3", "asin": "B000000003", "parent_asin": "B000000003", "rating": 0.0, "timestamp": 1588687729001},
    {"user_id": "AE3", "asin": "B000000004", "parent_asin": "B000000004", "rating": 2.0, "timestamp": 1588687729002},
    {"user_id": "AE3", "asin": "B000000003", "parent_asin": "B000000003", "rating": 1.0, "timestamp": 1588687729003},
]  # fmt: skip
META_2023: list[Any] = [
    {"parent_asin": "B00000000P", "title": "Soap &amp; Water", "price": 12.99, "store": "Shop",
     "main_category": "Beauty", "images": [{"thumb": "t", "large": "https://x/l.jpg", "hi_res": None}],
     "categories": ["Beauty", "Soap"], "description": ["Cleans.", ""], "features": ["Mild"],
     "details": {"a": {"b": 1}}},
    {"parent_asin": "B000000003", "title": "Comb", "price": "—", "store": None, "images": [], "categories": [],
     "description": [], "features": ["Ten teeth", "Wood"], "details": {"other": [1, 2]}},
    {"parent_asin": "B000000009", "title": "Unsold", "price": None, "description": [], "features": [], "images": []},
]  # fmt: skip


def amazon_2023(root: Path) -> Path:
    """The seven reviews of the case, of which one item has no metadata."""
    json_lines(root / "All_Beauty.jsonl.gz", REVIEWS_2023)
    json_lines(root / "meta_All_Beauty.jsonl.gz", META_2023)
    return root / "All_Beauty.jsonl.gz"


def amazon_2014(root: Path) -> Path:
    """5-core reviews as JSON, metadata as literals of Python, one of them a call."""
    reviews = [
        {"reviewerID": "A1YJEY40YUW4SE", "asin": "7806397051", "reviewerName": "A", "helpful": [3, 4],
         "reviewText": "Fine", "overall": 1.0, "summary": "S", "unixReviewTime": 1391040000},
        {"reviewerID": "A60XNB876KYML", "asin": "B000052YPE", "helpful": [1, 1], "reviewText": "", "overall": 3.0,
         "summary": "", "unixReviewTime": 1397779200, "reviewTime": "04 18, 2014"},
    ]  # fmt: skip
    json_lines(root / "reviews_Beauty_5.json.gz", reviews)
    literals = [
        "{'asin': '7806397051', 'description': \"It's a palette\", 'title': 'WAWO 15 Color', 'price': 9.99, "
        "'imUrl': 'http://x/a.jpg', 'related': {'also_bought': ['B1']}, 'salesRank': {'Beauty': 7}}",
        f"{{'asin': __import__('os').system('touch {root / 'never'}'), 'title': 'evil'}}",
        "{'asin': 'B000052YPE', 'title': 'Nail\\nFile', 'categories': [['Beauty']]}",
    ]
    write_text(root / "meta_Beauty.json.gz", "\n".join(literals) + "\n")
    return root / "reviews_Beauty_5.json.gz"


def amazon_2018_items(root: Path) -> Path:
    """Metadata of 2018: prices in dollars, a range, and a title that is a page's program."""
    records: list[Any] = [
        {"asin": "B00000001A", "title": "One", "price": "$1,299.00", "brand": "b", "category": ["Arts", "Paint"],
         "description": ["", "Red"], "feature": ["Wet"], "imageURLHighRes": ["https://x/1.jpg"], "imageURL": []},
        {"asin": "B00000002A", "title": "Two", "price": "$3.99 - $5.99", "description": [], "feature": []},
        {"asin": "B00000003A", "title": "var aPageStart = (new Date()).getTime();", "price": "", "feature": []},
    ]  # fmt: skip
    return json_lines(root / "meta_Arts.json.gz", records)


def make_fake_microlens(root: Path, users: int = 12, items: int = 8, seed: int = 0, subset: str = "100k") -> Path:
    """Write a folder with every file of MicroLens and its field faults; the clicks below `MicroLens_1M_x1`.

    The .tsv of pairs has each user's items oldest first by the times of the .csv, whose rows stand in any order; no
    user repeats a time.

    A byte order mark and CRLF lines in the pairs, a title with commas and an unbalanced quote (item 2), an empty title
    (item 3), no cover of item 4, a truncated mp4 of item 5, a .wav beside a .mp3 of item 1.
    """
    draw = np.random.default_rng(seed)
    name = f"MicroLens-{subset}"
    sequences = {user: draw.permutation(items)[: int(draw.integers(3, items + 1))] + 1 for user in range(1, users + 1)}
    start = 1_583_400_000_000
    rows = [
        (user, item, start + 1000 * int(draw.integers(1, 10**6)) + place)
        for user, sequence in sequences.items()
        for place, item in enumerate(sequence)
    ]
    table = "".join(f"{user},{item},{time}\r\n" for user, item, time in rows)
    write_text(root / f"{name}_pairs.csv", "\ufeffuser,item,timestamp\r\n" + table)
    oldest_first: dict[int, list[int]] = {user: [] for user in sequences}
    for user, item, _ in sorted(rows, key=lambda row: row[2]):
        oldest_first[user].append(item)
    lines = [f"{user}\t{' '.join(map(str, chosen))}" for user, chosen in oldest_first.items()]
    write_text(root / f"{name}_pairs.tsv", "\n".join(lines) + "\n")
    titles = {item: f"Title {item}" for item in range(1, items + 1)}
    titles |= {2: 'He said "stop, and, went', 3: ""}
    if subset == "50k":
        quoted = {item: f'"{title.replace(chr(34), chr(34) * 2)}"' for item, title in titles.items()}
        text = "item,title\n" + "".join(f"{item},{title}\n" for item, title in quoted.items())
        write_text(root / f"{name}_titles.csv", text)
    else:
        file = f"{name}_title_en.csv" if subset == "100k" else f"{name}_title.csv"
        enclosed = {**titles, 1: f'"{titles[1]}"'}
        write_text(root / file, "".join(f"{item},{title}\n" for item, title in enclosed.items()))
        write_text(root / f"{name}_title_en.tsv", "".join(f"{item}\t{title}\n" for item, title in titles.items()))
    text = "".join(f"{100 + item}\t{item}\tx\n" for item in range(1, items + 1))
    write_text(root / f"{name}_items.tsv", text)
    counts = "".join(f"{item}\t{10 * item}\t{100 * item}\n" for item in range(1, items + 1))
    write_text(root / f"{name}_likes_and_views.txt", counts)
    said = "".join(f'{user}\t{sequence[0]}\tNice, "{user}"\tok\n' for user, sequence in sequences.items())
    write_text(root / f"{name}_comment_en.txt", said)
    write_text(root / "tags_to_summary.csv", '1,cats\n1,dogs\n2,"news, local"\n')
    _microlens_media(root, name, items, draw)
    folder = root / "extracted_modality_features"
    folder.mkdir()
    matrices = {"title_en_text_features_BgeM3": 8, "image_features_CLIPRN50": 6, "video_features_VideoMAE": 4}
    for file, width in matrices.items():
        matrix = draw.normal(size=(items, width)).astype(np.float32)
        tree = {str(item + 1): vector.tolist() for item, vector in enumerate(matrix)}
        (folder / f"{name}_{file}.json").write_text(json.dumps(tree))
        if "video" not in file:  # of one, the .json alone
            np.save(folder / f"{name}_{file}.npy", matrix)
    _microlens_clicks(root / "MicroLens_1M_x1", users, items, draw)
    return root


def _microlens_media(root: Path, name: str, items: int, draw: np.random.Generator) -> None:
    from PIL import Image

    for kind in ("covers", "audio", "videos", "frames_interval_1_number_5"):
        (root / f"{name}_{kind}").mkdir(parents=True)
    for item in range(1, items + 1):
        image = Image.fromarray(draw.integers(0, 255, (16, 12, 3), dtype=np.uint8))
        if item != 4:
            image.save(root / f"{name}_covers" / f"{item}.jpg")
        for k in range(1, 6):
            image.save(root / f"{name}_frames_interval_1_number_5" / f"{item}-{k}.jpg")
        (root / f"{name}_audio" / f"{item}.mp3").write_bytes(b"ID3" + bytes(64))
        content = b"\0\0\0\x18ftypmp42" + draw.bytes(400)
        (root / f"{name}_videos" / f"{item}.mp4").write_bytes(content[:20] if item == 5 else content)
    (root / f"{name}_audio" / "1.wav").write_bytes(b"RIFF" + bytes(40))
    with zipfile.ZipFile(root / f"{name}_covers.zip", "w") as archive:
        for file in sorted((root / f"{name}_covers").iterdir()):
            archive.write(file, file.name)


def _microlens_clicks(root: Path, users: int, items: int, draw: np.random.Generator) -> None:
    root.mkdir()
    for part, n in (("train", 3 * users), ("valid", users), ("test", users)):
        columns: dict[str, Any] = {
            "user_id": draw.integers(1, users + 1, n),
            "item_seq": [draw.integers(1, items + 1, 3).tolist() for _ in range(n)],
            "item_id": draw.integers(1, items + 1, n),
            "likes_level": draw.integers(0, 11, n),
            "views_level": draw.integers(0, 11, n),
        }
        if part != "test":
            columns["label"] = draw.integers(0, 2, n)
        pl.DataFrame(columns).write_parquet(root / f"{part}.parquet")
    ids = np.arange(items + 1)
    vectors = pl.Series(draw.normal(size=(items + 1, 128)).astype(np.float32), dtype=pl.Array(pl.Float32, 128))
    tags = pl.Series([[item] * 5 for item in ids], dtype=pl.List(pl.Int64))
    info = pl.DataFrame({"item_id": ids, "item_tags": tags, "item_emb_d128": vectors})
    info.write_parquet(root / "item_info.parquet")
    info.select("item_id", "item_tags").write_parquet(root / "item_feature.parquet")
    info.select("item_id", "item_emb_d128").write_parquet(root / "item_emb.parquet")
    pl.DataFrame({"user_id": np.arange(1, users + 1), "item_seq": [[1, 2]] * users}).write_parquet(
        root / "item_seq.parquet"
    )
