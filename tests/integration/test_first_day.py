"""The main job once, from outside: sign up, refresh, chat, sign out."""
from tide.client import events, mainland_phone


def test_a_person_signs_up_chats_and_signs_out(stack, app):
    session = app.sign_up()
    assert session["token_type"] == "bearer"
    assert app.user().json()["id"] == session["user"]["id"]
    answer = app.chat()
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]
    with app.stream() as response:
        found = events(response)
    assert response.status_code == 200 and found[-1] == "[DONE]"
    assert app.refresh().status_code == 200
    assert app.http.post("/auth/v1/logout", headers=app.bearer()).status_code == 204
    assert app.user().status_code in (401, 403)


def test_who_has_an_account_signs_in_again(stack, app):
    phone = mainland_phone()
    first = app.sign_up(phone)
    stack.resend_time_passes()
    assert app.sign_up(phone)["user"]["id"] == first["user"]["id"]
