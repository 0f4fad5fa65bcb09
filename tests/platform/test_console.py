"""The console as a person uses it, in a browser, on `chalice local` and on the deployed API."""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, CDPSession, FilePayload, Route, expect
from standardwebhooks.webhooks import Webhook

from chalicelib.events.model import Dispatch, Failure, Status
from local.children import Child
from tests.support.browser import CHROMIUM, NARROW, WIDE, Visit, running_browser, visiting
from tests.support.deployed_stage import Stage, unique, wait_for
from tests.support.emulator import Emulator, answers, deploy_stage, free_port
from tests.support.webhook_receiver import Receiver, answer

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.one_stage,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]

PAGES = [
    "", "events", "send", "failures", "failures?tab=rejected", "failures?tab=messages", "replays",
    "schemas", "uploads", "items", "subscriptions", "destinations", "alerts", "access",
    "settings",
]  # fmt: skip
MANY = 10_000
REMEMBERED_SECONDS = 1.5
"""Longer than a worker of the stage `local` remembers who has destinations."""
ROWS_IN_THE_DOCUMENT = 150
MOST_CLICKS = 8
SCREEN_SECONDS = 0.1
DRAWN_MS = 1500
"""Three times what it takes when it has a processor to itself."""
MOST_LAYOUT_SHIFT = 0.1
"""What web.dev calls good ("Cumulative Layout Shift")."""
_LAYOUT_SHIFT = """new Promise(resolve => new PerformanceObserver(list => resolve(
    list.getEntries().map(one => ({value: one.value, of: one.sources.map(
        source => source.node?.outerHTML?.slice(0, 90))}))
)).observe({type: "layout-shift", buffered: true}) ?? setTimeout(() => resolve([]), 500))"""
HTML = '<img src=x onerror="window.ran=1"><script>window.ran=1</script>'
TURNED = "abc\u202egpj.exe\u202c"
LONG_LINE = "x" * 100_000


@pytest.fixture(scope="module")
def stage(emulator: Emulator, project: Path) -> Stage:
    """The stage `local` alone, deployed."""
    settings = {"RETRY_BASE_SECONDS": "0"}
    return Stage("local", emulator, project, deploy_stage(emulator, project, "local", settings))


@pytest.fixture(scope="module")
def url(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API of the stage on `chalice local`."""
    port = free_port()
    command = [sys.executable, "-m", "local.serve", "--port", str(port)]
    log = tmp_path_factory.mktemp("serve") / "serve.log"
    child = Child("chalice local", command, log, stage.emulator.environ(), stage.project)
    here = f"http://127.0.0.1:{port}"
    wait_for("chalice local", lambda: answers(f"{here}/health"))
    yield here
    child.stop(10)
    assert "evl_" not in log.read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of the file; each has its own tabs."""
    with running_browser() as running:
        yield running


@pytest.fixture
def person(browser: Browser, url: str, stage: Stage) -> Iterator[Visit]:
    """Somebody with every scope, in a window of 1280 pixels."""
    with visiting(browser, url, stage.admin) as visit:
        yield visit


def rows(visit: Visit) -> Any:
    """The rows of the table of events that are in the document."""
    return visit.page.locator("table.events tbody tr:not(.spacer)")


def failing(stage: Stage, event_type: str, count: int = 1) -> list[str]:
    """Events that were given up although nothing is wrong with them; their ids."""
    with stage.paused_worker():
        ids = [stage.send({"eventType": event_type, "n": number}) for number in range(count)]
        for _ in ids:
            received = stage.sqs.receive_message(QueueUrl=stage.events_url, WaitTimeSeconds=0)
            (message,) = received["Messages"]
            handle = message["ReceiptHandle"]
            stage.sqs.delete_message(QueueUrl=stage.events_url, ReceiptHandle=handle)
        for event_id in ids:
            record = stage.record(event_id)
            assert record is not None
            assert record.payload is not None
            stage.ledger().mark_attempt_failed(
                stage.lake().store(record.event, record.payload),
                record.updated_at,
                Failure("transient", "busy", "the warehouse did not answer"),
                final=True,
                dispatch=Dispatch(record.updated_at, noted=True),
            )
    return ids


# ------------------------------------------------------------------------------------ signing in


def test_the_token_in_the_address_is_taken_out_of_it_and_forgotten(
    browser: Browser, url: str, stage: Stage
) -> None:
    with visiting(browser, url, stage.admin) as visit:
        page = visit.page
        assert "token" not in page.url
        assert stage.admin not in page.content()
        page.reload()
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        visit.press("Sign out")
        expect(page.get_by_label("Token")).to_be_visible()
        kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
        secret = stage.admin.rpartition("_")[2]
        assert secret not in kept + page.content() + page.url


def test_an_answer_that_comes_before_the_page_is_painted_counts(
    browser: Browser, url: str, stage: Stage
) -> None:
    # Given a browser that is too busy to paint: what waits for it comes a second late
    with visiting(browser, url, stage.admin) as visit:
        visit.page.add_init_script(
            "const later = setTimeout;"
            "window.setTimeout = (work, ms, ...more) => later(work, (ms || 0) + 1000, ...more);"
            "window.requestAnimationFrame = work => later(work, 1000);"
        )
        visit.page.reload()
        expect(visit.page.get_by_role("heading", level=1)).to_have_text("Overview", timeout=10_000)


def test_a_token_is_typed_masked_and_a_wrong_one_is_refused(
    browser: Browser, url: str, stage: Stage
) -> None:
    with visiting(browser, url, refusals=(401,)) as visit:
        field = visit.page.get_by_label("Token")
        assert field.get_attribute("type") == "password"
        field.fill("evl_nosuch_00")
        visit.press("Sign in")
        visit.sees("A valid token is needed")
        field.fill(stage.admin)
        field.press("Enter")
        expect(visit.page.get_by_role("heading", level=1)).to_have_text("Overview")


def test_a_token_that_is_revoked_meanwhile_signs_out(
    browser: Browser, url: str, stage: Stage
) -> None:
    issued = stage.issue(unique("owner"), "events:read")
    with visiting(browser, url, issued["token"], refusals=(401,)) as visit:
        stage.call("DELETE", f"/tokens/{issued['id']}", stage.admin)
        visit.go("events")
        visit.sees("no longer accepted")
        assert visit.page.evaluate("sessionStorage.length") == 0


def test_what_the_scopes_do_not_allow_is_disabled_with_the_reason(
    browser: Browser, url: str, stage: Stage
) -> None:
    owner = unique("owner")
    token = stage.token(owner, "events:read", "events:write")
    event_id = stage.send({"eventType": "eventline.drill.permanent"}, token)
    stage.follow(event_id)
    with visiting(browser, url, token) as visit:
        visit.go(f"events/{event_id}")
        button = visit.page.get_by_role("button", name="Redrive")
        expect(button).to_have_attribute("aria-disabled", "true")
        expect(button).to_have_accessible_description(
            "This needs a token with the scope events:admin."
        )
        button.click(force=True)
        expect(visit.page.get_by_role("dialog")).to_have_count(0)
        for place in PAGES:
            visit.go(place)
            visit.settle()
            expect(visit.page.locator(".fault")).to_have_count(0)


def test_another_owner_sees_nothing_of_it(browser: Browser, url: str, stage: Stage) -> None:
    event_type = unique("private")
    event_id = stage.send({"eventType": event_type, "secret": "hunter2"})
    stage.follow(event_id)
    token = stage.token(unique("owner"), "events:read", "events:write")
    with visiting(browser, url, token, refusals=(404,)) as visit:
        visit.go("events")
        visit.sees("No event yet")
        visit.go(f"events/{event_id}")
        visit.sees("No such event")
        assert event_type not in visit.page.content()
        assert "hunter2" not in visit.page.content()


# --------------------------------------------------------------------------------- the main deeds


def test_from_being_woken_to_a_redriven_event(browser: Browser, url: str, stage: Stage) -> None:
    # Given an event that failed, and somebody who has just opened the address of `make up`
    event_type = unique("order")
    (event_id,) = failing(stage, event_type)
    with visiting(browser, url, stage.admin) as visit:
        clicks = 0

        def click(target: Any) -> None:
            nonlocal clicks
            target.click()
            clicks += 1

        # When they follow what the page says
        page = visit.page
        click(page.get_by_role("link", name="Failures", exact=True).last)
        group = page.get_by_role("region", name=f"{event_type}, busy")
        expect(group).to_be_visible()
        if group.get_by_role("link", name=event_id).count() == 0:
            click(group.get_by_role("button", name="Show events"))
        click(group.get_by_role("link", name=event_id))
        visit.sees("Redrive once what it calls is well again.")
        click(page.get_by_role("button", name="Redrive"))
        click(page.get_by_role("dialog").get_by_role("button", name="Redrive 1"))
        # Then they see it go through
        expect(page.locator("h1 .badge")).to_contain_text("PROCESSED")
        assert clicks <= MOST_CLICKS


def test_a_group_of_failures_is_redriven_whole(person: Visit, stage: Stage) -> None:
    event_type = unique("order")
    ids = failing(stage, event_type, 3)
    person.go("failures")
    group = person.page.get_by_role("region", name=f"{event_type}, busy")
    group.get_by_role("button", name="Redrive 3").click()
    expect(person.page.get_by_role("dialog")).to_contain_text("Redrive 3 events?")
    person.confirm("Redrive 3")
    person.sees("3 events redriven.")
    for event_id in ids:
        stage.follow(event_id, Status.PROCESSED)


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "dark"), (NARROW, "light")])
def test_an_event_is_sent_and_followed(
    browser: Browser, url: str, stage: Stage, size: tuple[int, int], scheme: str
) -> None:
    with visiting(browser, url, stage.admin, size=size, scheme=scheme) as visit:
        visit.go("send")
        visit.fill("Body", '{"eventType": "demo", "n": }')
        visit.sees("This is not JSON")
        visit.fill("Body", '{"eventType": "demo", "n": 1}')
        visit.press("Send")
        answer = visit.page.get_by_role("region", name="Answer")
        expect(answer).to_contain_text("PROCESSED")
        answer.get_by_role("link").click()
        expect(visit.page.get_by_role("region", name="Life")).to_contain_text("PROCESSED")
        expect(visit.page.get_by_role("region", name="Result")).to_contain_text("processedAt")


def test_a_batch_and_a_cloud_event_are_sent(person: Visit) -> None:
    person.go("send?form=batch")
    person.press("Send")
    person.sees("3 events accepted, 0 repeated, 0 rejected")
    person.go("send?form=cloudevent")
    expect(person.page.get_by_label("Body", exact=True)).to_have_value(re.compile("specversion"))
    person.press("Send")
    expect(person.page.get_by_role("region", name="Answer")).to_contain_text("PROCESSED")


def test_an_event_is_found_by_its_key_and_by_its_source_and_id(person: Visit, stage: Stage) -> None:
    key, event_type = unique("key"), unique("found")
    by_key = stage.send({"eventType": event_type}, key=key)
    cloud = {"specversion": "1.0", "id": key, "source": "/shop", "type": f"{event_type}.cloud"}
    headers = {"Content-Type": "application/cloudevents+json"}
    sent = stage.call("POST", "/events", stage.admin, data=json.dumps(cloud), headers=headers)
    page = person.page
    page.keyboard.press("/")
    search = page.get_by_role("searchbox", name="Search")
    expect(search).to_be_focused()
    for text, name in ((key, event_type), (f"/shop {key}", f"{event_type}.cloud")):
        search.fill(text)
        search.press("Enter")
        expect(rows(person)).to_have_count(1)
        expect(rows(person)).to_contain_text(name)
    search.fill(by_key)
    search.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(event_type)
    # And back to the view that was searched for
    page.go_back()
    expect(rows(person).get_by_role("link")).to_have_attribute(
        "href", f"#/events/{sent.json()['eventId']}"
    )


def test_the_view_is_filtered_exported_and_followed(person: Visit, stage: Stage) -> None:
    event_type = unique("tail")
    first = stage.send({"eventType": event_type, "n": 1})
    person.go("events")
    # What is typed stays while the list is drawn anew
    box = person.page.get_by_label("Type", exact=True)
    box.press_sequentially("half a")
    stage.send({"eventType": "tail-other"})
    expect(rows(person).filter(has_text="tail-other").first).to_be_visible()
    expect(box).to_have_value("half a")
    person.fill("Type", event_type)
    expect(rows(person)).to_have_count(1)
    assert f"eventType={event_type}" in person.page.url
    # What comes is seen at once
    stage.send({"eventType": event_type, "n": 2})
    expect(rows(person)).to_have_count(2)
    # A pause keeps the place
    person.press("❚❚ Pause")
    stage.send({"eventType": event_type, "n": 3})
    person.page.wait_for_timeout(2500)
    expect(rows(person)).to_have_count(2)
    person.press("▶ Go live")
    expect(rows(person)).to_have_count(3)
    expect(rows(person).filter(has_text="PROCESSED")).to_have_count(3)
    with person.page.expect_download() as saved:
        person.page.get_by_label("Export").select_option("ndjson")
    lines = Path(saved.value.path()).read_text().splitlines()
    assert [json.loads(line)["eventType"] for line in lines] == [event_type] * 3
    with person.page.expect_download() as saved:
        person.page.get_by_label("Export").select_option("csv")
    assert Path(saved.value.path()).read_text().count(event_type) == 3
    # And the choice is replayed
    person.page.get_by_label(f"Choose the event {first}").check()
    person.press("Replay")
    person.confirm("Replay 1")
    expect(rows(person)).to_have_count(4)


def test_a_window_is_counted_and_replayed(person: Visit, stage: Stage) -> None:
    event_type = unique("window")
    for number in range(3):
        stage.follow(stage.send({"eventType": event_type, "n": number}))
    person.go("replays")
    person.fill("Type", event_type)
    person.press("Count")
    person.sees("3 events")
    person.press("Start …")
    person.confirm("Replay 3")
    expect(person.page.locator("h1 .badge")).to_contain_text("DONE")
    person.sees("3 handed to the worker of 3 matched")
    person.page.get_by_role("link", name="Replays").first.click()
    person.sees(event_type)


def test_a_schema_that_refuses_is_put_with_a_warning(person: Visit, stage: Stage) -> None:
    # That there is none yet, the API answers with a 404
    person.refusals = (404,)
    event_type = unique("schema")
    for number in range(2):
        stage.follow(stage.send({"eventType": event_type, "n": number}))
    person.go("schemas")
    person.fill("Type", event_type)
    person.press("Open or make its schema")
    person.sees("accepted whatever they hold")
    for required in ("n", "total"):
        person.page.get_by_role(
            "button", name="Make a schema" if required == "n" else "New version"
        ).click()
        schema = {"type": "object", "required": ["eventType", required]}
        person.page.get_by_role("dialog").get_by_role("textbox").fill(json.dumps(schema))
        person.confirm("Put this version")
        if required == "total":
            person.sees("It refuses 2 of the last 2 events of this type.")
            person.confirm("Put it all the same")
        expect(person.page.get_by_role("dialog")).to_have_count(0)
    expect(person.page.get_by_role("region", name="Text")).to_contain_text('"total"')
    person.page.get_by_label("Compare with").select_option("1")
    expect(person.page.locator(".line.new")).to_have_count(1)
    refused = stage.post({"eventType": event_type, "n": 1}, stage.admin)
    assert refused.status_code == 422
    person.go("failures?tab=rejected")
    person.sees(event_type)


def test_a_file_is_uploaded_and_recorded(browser: Browser, url: str, stage: Stage) -> None:
    with visiting(browser, url, stage.admin, others=stage.emulator.url) as visit:
        visit.go("uploads")
        name = f"{unique('report')}.txt"
        file = FilePayload(name=name, mimeType="text/plain", buffer=b"hello")
        visit.page.get_by_label("Drop files here").set_input_files([file])
        visit.sees("✓ recorded")
        expect(visit.page.get_by_role("table")).to_contain_text(name)


def test_an_item_that_somebody_else_changed_is_not_lost(
    browser: Browser, url: str, stage: Stage
) -> None:
    with visiting(browser, url, stage.admin, refusals=(412,)) as visit:
        mine = unique("desk")
        visit.go("items")
        visit.press("New item")
        visit.fill("Data", f'{{"name": "{mine}"}}')
        visit.confirm("Save")
        link = visit.page.get_by_role("row").filter(has_text=mine).get_by_role("link")
        item_id = link.inner_text()
        link.click()
        shown = f'{{\n  "name": "{mine}"\n}}'
        expect(visit.page.get_by_label("Data", exact=True)).to_have_value(shown)
        etag = stage.call("GET", f"/items/{item_id}", stage.admin).headers["ETag"]
        changed = stage.call(
            "PUT", f"/items/{item_id}", stage.admin, json={"name": "theirs"},
            headers={"If-Match": etag},
        )  # fmt: skip
        assert changed.status_code == 200
        visit.fill("Data", '{"name": "mine again"}')
        visit.confirm("Save")
        visit.sees("Somebody else changed it meanwhile.")
        visit.confirm("Overwrite it with mine")
        expect(visit.page.get_by_role("dialog")).to_have_count(0)
        visit.sees("mine again")


def test_a_token_is_made_shown_once_and_revoked(person: Visit, stage: Stage) -> None:
    owner = unique("owner")
    person.go("access")
    person.press("New token")
    person.page.get_by_role("dialog").get_by_label("Owner").fill(owner)
    person.confirm("Make it")
    person.sees("It is shown only now.")
    token = person.page.locator("#new-token").inner_text()
    assert stage.call("GET", "/events", token).status_code == 200
    person.confirm("I have kept it")
    assert token not in person.page.content()
    row = person.page.get_by_role("row").filter(has_text=owner)
    more = person.page.get_by_role("button", name="Load more")
    while True:  # The stage has many tokens, in the order of their ids.
        expect(row.or_(more).first).to_be_visible()
        if row.count():
            break
        more.click()
        expect(more.or_(row).first).to_be_enabled()
    row.get_by_role("button", name="Revoke").click()
    person.confirm("Revoke 1")
    expect(row).to_have_count(0)
    wait_for("the refusal", lambda: stage.call("GET", "/events", token).status_code == 401)


def test_an_event_that_a_destination_refused_is_sent_again(person: Visit, stage: Stage) -> None:
    event_type = unique("order")
    with Receiver().listening() as receiver:
        person.go("destinations")
        person.press("New destination")
        dialog = person.page.get_by_role("dialog")
        dialog.get_by_label("URL").fill(receiver.url)
        dialog.get_by_label("Event types").fill(event_type)
        person.confirm("Make it")
        person.sees("It is shown only now.")
        secret = person.page.locator("#new-secret").inner_text()
        person.confirm("I have kept it")
        assert secret not in person.page.content()
        person.page.get_by_role("row").filter(has_text=receiver.url).get_by_role("link").click()
        person.sees("Nothing was sent yet.")
        time.sleep(REMEMBERED_SECONDS)
        receiver.then(answer(500, b"<b>no</b>"))
        event_id = stage.send({"eventType": event_type, "total": 5})
        wait_for("the delivery", lambda: receiver.got)
        delivery = person.page.get_by_role("row").filter(has_text=event_type)
        while not delivery.count():
            person.press("Load again")
            person.page.wait_for_timeout(300)
        expect(delivery).to_contain_text("<b>no</b>")
        person.press(f"Send the event {event_id} again")
        wait_for("the second attempt", lambda: len(receiver.got) > 1)
        for got in receiver.got:
            assert Webhook(secret).verify(got.body, dict(got.headers))["data"]["total"] == 5
        person.go(f"events/{event_id}")
        person.sees("To the destination")
        person.page.get_by_role("link", name="Destinations").first.click()
        person.page.get_by_role("row").filter(has_text=receiver.url).get_by_role("link").click()
        person.press("Delete …")
        person.confirm("Delete 1")
        expect(person.page.get_by_role("row").filter(has_text=receiver.url)).to_have_count(0)


def test_the_keyboard_is_enough(person: Visit, stage: Stage) -> None:
    event_type = unique("keys")
    stage.follow(stage.send({"eventType": event_type}))
    page = person.page
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Search events")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("e")
    expect(rows(person).first).to_contain_text(event_type)
    # One right after the other, with no frame drawn between them.
    page.evaluate(
        "async () => { for (const key of ['j', 'Enter']) {"
        " document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));"
        " await null } }"
    )
    expect(page.get_by_role("heading", level=1)).to_contain_text(event_type)
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Events")


# --------------------------------------------------------------------- what must hold everywhere


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_hostile_text_is_text(
    browser: Browser, url: str, stage: Stage, size: tuple[int, int], scheme: str
) -> None:
    event_type = f"eventline.drill.{HTML[:34]}"
    body = {"eventType": event_type, "source": HTML, "subject": HTML, "html": HTML}
    event_id = stage.send({**body, "turned": TURNED, "line": LONG_LINE, HTML: [HTML]})
    stage.follow(event_id)
    with visiting(browser, url, stage.admin, size=size, scheme=scheme) as visit:
        for place in ("events", f"events/{event_id}"):
            visit.go(place)
            visit.settle()
            expect(visit.page.locator("#app img, #app script")).to_have_count(0)
            assert visit.page.evaluate("window.ran ?? null") is None
            assert visit.overflow() <= 0
        payload = visit.page.get_by_role("region", name="Payload")
        expect(payload).to_contain_text("abc⟨U+202E⟩gpj.exe")
        expect(payload).to_contain_text(HTML)
        payload.get_by_role("button", name="text").click()
        payload.get_by_label("Search the payload").fill("<script>")
        expect(payload.get_by_role("status")).to_have_text("5 found")
        payload.get_by_role("button", name="bytes").click()
        expect(payload).to_contain_text("7b 22 65 76")


def _busy_seconds(session: CDPSession) -> float:
    """What the page's thread worked until now (DevTools Protocol, Performance.getMetrics)."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


def test_ten_thousand_events_scroll(browser: Browser, url: str, stage: Stage) -> None:
    event_id = stage.send({"eventType": "demo"})
    stage.follow(event_id)
    one = stage.call("GET", f"/events/{event_id}", stage.admin).json()

    def page_of(route: Route) -> None:
        cursor = route.request.url.partition("cursor=")[2].partition("&")[0]
        if "after=" in route.request.url:
            route.fulfill(json={"items": [], "cursor": None, "newest": "n"})
            return
        start = int(cursor or 0)
        items = [
            {**one, "eventId": f"{number:08d}-0000-7000-8000-000000000000"}
            for number in range(start, start + 100)
        ]
        last = start + 100 >= MANY
        route.fulfill(
            json={"items": items, "cursor": None if last else str(start + 100), "newest": "n"}
        )

    with visiting(browser, url, stage.admin) as visit:
        visit.page.route(lambda address: "/events?" in address, page_of)
        visit.go("events")
        deadline = time.monotonic() + 60
        while visit.page.get_by_text("10,000 events loaded, these are all").count() == 0:
            visit.page.evaluate("scrollTo(0, document.body.scrollHeight)")
            assert rows(visit).count() < ROWS_IN_THE_DOCUMENT
            assert time.monotonic() < deadline
        visit.page.evaluate("scrollTo(0, document.body.scrollHeight)")
        expect(rows(visit).last).to_have_attribute("aria-rowindex", str(MANY + 1))
        # A screen takes the page's thread a few frames. Its own time, not the clock's: the others
        # have the processor meanwhile.
        session = visit.page.context.new_cdp_session(visit.page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        before = _busy_seconds(session)
        visit.page.evaluate(
            """async () => {
              for (let at = 0; at < 40; at++) {
                scrollTo(0, at * 9000);
                await new Promise(requestAnimationFrame);
                await new Promise(requestAnimationFrame);
              }
            }"""
        )
        assert 0 < (_busy_seconds(session) - before) / 40 < SCREEN_SECONDS
        assert rows(visit).count() < ROWS_IN_THE_DOCUMENT


@pytest.mark.parametrize(
    ("size", "scheme"), [(WIDE, "light"), (WIDE, "dark"), (NARROW, "light"), (NARROW, "dark")]
)
def test_every_page_is_accessible_and_fits(
    browser: Browser, url: str, stage: Stage, size: tuple[int, int], scheme: str
) -> None:
    failed = stage.send({"eventType": "eventline.drill.permanent", "n": 1})
    stage.follow(failed)
    done = stage.send({"eventType": "demo"})
    stage.follow(done)
    schema = {"type": "object", "required": ["eventType"]}
    stage.call("PUT", "/schemas/console.page", stage.admin, json=schema)
    order = {
        "url": "http://127.0.0.1:1025/",
        "eventTypes": ["nosuch"],
        "description": LONG_LINE[:250],
    }
    made = stage.call("POST", "/destinations", stage.admin, json=order).json()["id"]
    stage.call("POST", f"/destinations/{made}/retry", stage.admin, json={"eventId": done})
    wait_for(
        "an attempt",
        lambda: stage.call("GET", f"/destinations/{made}/attempts", stage.admin).json()["items"],
    )
    places = [*PAGES, f"events/{failed}", f"destinations/{made}", "schemas/console.page", "nosuch"]
    # Each in one of the two sizes and of the two colours at least, the main ones in all
    main = {"", "events", "failures", f"events/{failed}"}
    half = (size, scheme) in ((WIDE, "light"), (NARROW, "dark"))
    with visiting(browser, url, stage.admin, size=size, scheme=scheme) as visit:
        for place in places if half else sorted(main):
            visit.go(place)
            visit.settle()
            assert visit.violations() == [], place
            assert visit.overflow() <= 0, place
        if size == NARROW:
            visit.page.get_by_role("button", name="Menu").click()
            visit.page.get_by_role("link", name="Settings").click()
            expect(visit.page.get_by_role("heading", level=1)).to_have_text("Settings of the stage")
            expect(visit.page.get_by_role("rowheader", name="LEDGER_SHARDS")).to_be_visible()


def test_it_works_below_the_stage_prefix_and_with_a_slash(browser: Browser, stage: Stage) -> None:
    event_type = unique("deployed")
    stage.follow(stage.send({"eventType": event_type}))
    with visiting(browser, stage.url, stage.admin) as visit:
        visit.go("events")
        visit.sees(event_type)
    answer = stage.call("GET", "/console/", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (308, "../console")


_FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def test_it_is_drawn_at_once(browser: Browser, url: str, stage: Stage) -> None:
    times: list[float] = []
    # The best of a few: the others share the processor with a whole emulator.
    while len(times) < 3 or (min(times) >= DRAWN_MS and len(times) < 10):
        with visiting(browser, url, stage.admin) as visit:
            # Not `wait_for_function`: the page's policy lets nothing poll in it by eval.
            times.append(wait_for("the first paint", partial(visit.page.evaluate, _FIRST_PAINT)))
    assert min(times) < DRAWN_MS


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_what_is_read_does_not_move(
    browser: Browser, url: str, stage: Stage, size: tuple[int, int]
) -> None:
    # An owner of its own: a list of what is wrong pushes the page down by its length.
    token = stage.token(unique("still"), "events:read", "events:write")
    stage.follow(stage.send({"eventType": unique("still")}, token))
    with visiting(browser, url, token, size=size) as visit:
        visit.settle()
        shifts = visit.page.evaluate(_LAYOUT_SHIFT)
    assert sum(one["value"] for one in shifts) < MOST_LAYOUT_SHIFT, shifts


def test_pictures_are_taken(browser: Browser, url: str, stage: Stage, tmp_path: Path) -> None:
    """`make screenshots` names the folder; to look at is for people."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(12):
        order = {"orderId": f"A-{1000 + number}", "total": 19.5 + number, "currency": "EUR"}
        stage.send({"eventType": "order.paid", "source": "shop/7", **order, "subject": "order/7"})
        if number % 3 == 0:
            stage.send({"eventType": "invoice.drafted", "source": "billing", "invoice": number})
    failed = stage.send({"eventType": "eventline.drill.permanent", "source": "billing", "n": 7})
    stage.follow(failed)
    places = {
        "overview": "",
        "events": "events",
        "event": f"events/{failed}",
        "failures": "failures",
    }
    for scheme in ("light", "dark"):
        for size, width in ((WIDE, ""), (NARROW, "-narrow")):
            with visiting(browser, url, stage.admin, size=size, scheme=scheme) as visit:
                for name, place in places.items():
                    visit.go(place)
                    visit.settle()
                    visit.page.screenshot(path=folder / f"{name}-{scheme}{width}.png")
    assert len(list(folder.glob("*.png"))) >= 16
