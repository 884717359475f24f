"""The page in a headless Chromium, with keys only. The window is that of a desktop or of a phone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from serving import make_nlp, run_server, wait_until

from spacy_uniner.service.app import create_app

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here; on Debian: apt install chromium-driver"
)

TEXT = "Alan Bean flew from Paris to the moon ."
TYPES = "person, city,\nastronaut"


@pytest.fixture(scope="module")
def url(hesitant_folder) -> Iterator[str]:
    with run_server(create_app(make_nlp(hesitant_folder))) as server:
        yield server.url


@pytest.fixture(scope="module")
def chromium() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium, url) -> Iterator[webdriver.Chrome]:
    chromium.get_log("browser")
    resize(chromium, 1200)
    chromium.get(url)
    yield chromium
    problems = [entry for entry in chromium.get_log("browser") if "status of 422" not in entry["message"]]
    assert problems == []  # such as what the policy forbids


def resize(page, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def by_id(page, name: str) -> Any:
    return page.find_element(By.ID, name)


def press(page, *keys: str) -> None:
    """Press keys wherever the focus is."""
    page.switch_to.active_element.send_keys(*keys)


def fill(page, name: str, content: str) -> None:
    field = by_id(page, name)
    field.clear()
    field.send_keys(content)


def ask(page, text: str = TEXT, types: str = TYPES) -> None:
    fill(page, "text", text)
    fill(page, "types", types)
    press(page, Keys.CONTROL, Keys.ENTER)
    wait_for(page, "entit", "Nothing was found")


def wait_for(page, *beginnings: str) -> None:
    wait_until(lambda: any(beginning in by_id(page, "status").text for beginning in beginnings))


def read_rows(page) -> list[tuple[str, ...]]:
    script = "return [...document.querySelectorAll('#rows tr')].map(r => [...r.children].map(c => c.textContent))"
    return [tuple(row) for row in page.execute_script(script)]


def read_marks(page) -> list[str]:
    """Read the text of each mark, without the labels."""
    script = """
    return [...document.querySelectorAll('#marked mark')].map(mark => {
      const copy = mark.cloneNode(true);
      copy.querySelectorAll('small').forEach(label => { label.previousSibling.remove(); label.remove(); });
      return copy.textContent;
    });"""
    return page.execute_script(script)


def ask_api(url: str, **asked: Any) -> list[tuple[str, str, str]]:
    answer = httpx.post(f"{url}/entities", json=asked).json()["entities"][0]
    return [(entity["text"], entity["label"], f"{entity['score']:.2f}") for entity in answer]


def test_keys_alone_lead_from_text_to_entities(page, url):
    press(page, Keys.TAB)
    visited = []
    for _ in range(5):
        visited.append(page.switch_to.active_element.accessible_name)
        press(page, Keys.TAB)
    assert visited == ["Text", "Types", "Find entities", "Threshold", "Overlap"]
    fill(page, "text", TEXT)
    press(page, Keys.TAB)
    press(page, Keys.CONTROL + "a")
    press(page, "city, person")
    press(page, Keys.TAB)
    press(page, Keys.ENTER)
    wait_for(page, "entities")
    expected = ask_api(url, texts=[TEXT], types=["city", "person"], threshold=0.15)
    assert [row[0] for row in expected] == ["Alan Bean", "Paris"]
    assert read_rows(page) == expected
    assert read_marks(page) == ["Alan Bean", "Paris"]
    assert by_id(page, "status").text == "2 entities of 2 types."
    assert by_id(page, "marked").text.startswith("Alan Bean person 0.")


def test_moving_the_threshold_asks_anew(page, url):
    ask(page)
    slider = by_id(page, "threshold")
    slider.send_keys(Keys.END)
    wait_for(page, "Nothing was found at this threshold")
    assert by_id(page, "shown").text == "1.00"
    assert not by_id(page, "table").is_displayed()
    slider.send_keys(Keys.HOME, Keys.ARROW_RIGHT)
    wait_for(page, "entities of")
    assert by_id(page, "shown").text == "0.02"
    types = ["person", "city", "astronaut"]
    assert read_rows(page) == ask_api(url, texts=[TEXT], types=types, threshold=0.02)


def test_entities_that_nest_are_marked_within_each_other_and_crossing_ones_are_told(page, url):
    ask(page)
    by_id(page, "threshold").send_keys(Keys.HOME)
    by_id(page, "overlap").send_keys("any")
    expected = ask_api(url, texts=[TEXT], types=["person", "city", "astronaut"], threshold=0.01, overlap="any")
    wait_until(lambda: read_rows(page) == expected)
    marks = read_marks(page)
    n_left = len(expected) - len(marks)
    assert len(marks) > 3
    assert all(mark in [text for text, *_ in expected] for mark in marks)
    assert page.find_elements(By.CSS_SELECTOR, "mark mark")
    assert (f"{n_left} of them cross" in by_id(page, "status").text) == (n_left > 0)


def test_offsets_count_code_points(page, url):
    # The driver cannot type what is beyond the first 65,536 code points.
    ask(page)
    text = "🚀🚀 " + TEXT
    page.execute_script("arguments[0].value = arguments[1]", by_id(page, "text"), text)
    by_id(page, "threshold").send_keys(Keys.HOME)
    expected = ask_api(url, texts=[text], types=["person", "city", "astronaut"], threshold=0.01)
    assert expected
    wait_until(lambda: read_rows(page) == expected)
    assert read_marks(page) == [entity[0] for entity in expected]
    marked = page.execute_script("return document.querySelector('#marked').textContent")
    for label in page.find_elements(By.CSS_SELECTOR, "#marked small"):
        marked = marked.replace(f" {label.text}", "", 1)
    assert marked == text


def fake_answer(page, *entities: dict[str, Any]) -> None:
    """Let the page get this answer, whatever it asks."""
    script = "window.fetch = async () => ({ ok: true, json: async () => ({ entities: [arguments[0]] }) })"
    page.execute_script(script.replace("arguments[0]", json.dumps(entities)))


def test_what_is_typed_is_never_run(page):
    text, label = '<img src="x" onerror="document.title=1"> ' + TEXT, '<b id="bold">person</b>'
    fake_answer(page, {"start": 0, "end": 4, "text": "<img", "label": label, "score": 0.5})
    ask(page, text, label)
    assert read_rows(page) == [("<img", label, "0.50")]
    assert not page.find_elements(By.CSS_SELECTOR, "#answer img, #bold")
    assert by_id(page, "marked").text == text.replace("<img", f"<img {label} 0.50", 1)
    assert page.title == "Entities of any type"


@pytest.mark.parametrize(
    "text, types, message",
    [
        (TEXT, " , ", "Give a text and at least one type."),
        ("  ", "city", "Give a text and at least one type."),
        (TEXT, "x" * 501, "501 characters in a name or description, but no more than 500"),
    ],
)
def test_what_is_wrong_is_said(page, text, types, message):
    ask(page)
    fill(page, "text", text)
    fill(page, "types", types)
    press(page, Keys.CONTROL, Keys.ENTER)
    wait_for(page, message)
    assert read_rows(page) == []
    assert by_id(page, "status").get_attribute("class") == "bad"


def test_a_service_that_is_gone_is_said(chromium, hesitant_folder):
    with run_server(create_app(make_nlp(hesitant_folder))) as server:
        chromium.get(server.url)
        ask(chromium)
    press(chromium, Keys.CONTROL, Keys.ENTER)
    wait_for(chromium, "The service does not answer. Is it running?")


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_nothing_is_wider_than_the_window(page, width):
    resize(page, width)
    text, label = "x" * 300, "y" * 200
    fake_answer(page, {"start": 0, "end": 300, "text": text, "label": label, "score": 0.5})
    ask(page, text, label)
    assert read_rows(page) == [(text, label, "0.50")]
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    for name in ("text", "types", "threshold", "overlap"):
        assert by_id(page, name).size["height"] >= 44  # a finger's width


def test_on_a_phone_the_answer_comes_into_view(page):
    resize(page, 390)
    ask(page)
    in_view = "return document.querySelector('#marked').getBoundingClientRect().bottom <= innerHeight"
    wait_until(lambda: page.execute_script(in_view))
