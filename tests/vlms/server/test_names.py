"""Recognised names reach a server as text, and come back in captions, keywords and answers; nothing is trained."""

import json

from tests.learned import draw_album
from tests.vlms.server.api_server import Answer, completion


def test_names_stand_in_the_request_and_in_the_sidecars(myvlm, session, server, tmp_path):
    session.store.close()
    album = tmp_path / "album"
    draw_album(album)

    def chat(request):
        named = [name for name in ("Rex", "Anna") if name in request.text]
        text = f"{' and '.join(named)} in the snow." if named else "A teapot in the snow."
        return Answer(completion(text))

    server.chat = chat
    choice = ("--vlm", server.vlm, "--recogniser", "storybook")
    result = myvlm("caption", album, *choice)
    assert result.code == 0, result.err
    assert "train" not in result.err
    captions = {
        n: json.loads((album / f"{n}.jpg.myvlm.json").read_text())["caption"] for n in ("rex", "both", "nobody")
    }
    assert captions == {
        "rex": "Rex in the snow.",
        "both": "Rex and Anna in the snow.",
        "nobody": "A teapot in the snow.",
    }
    assert "Anna" in (album / "both.jpg.xmp").read_text()
    asked = len(server.chats)
    assert myvlm("caption", album, *choice, "--json").json["summary"] == {"unchanged": 3}
    assert len(server.chats) == asked
    server.chat = lambda request: Answer(completion("Rex holds nothing."))
    answer = myvlm("ask", album / "rex.jpg", "What does Rex hold?", *choice)
    assert (answer.code, answer.out.strip()) == (0, "Rex holds nothing."), answer.err
    assert "Rex" in server.chats[-1].text


def test_a_server_is_not_given_embeddings(myvlm, session, server, tmp_path):
    session.store.close()
    draw_album(tmp_path / "album")
    result = myvlm("caption", tmp_path / "album", "--vlm", server.vlm, "--speak", "embedding")
    assert result.code == 2 and "runs in a server, which takes no embeddings" in result.err
    assert server.received == []
