"""Tests of the wheel as a user has it: tests/python/wheel.sh builds and installs it first."""

import pathlib
import shutil

import klens
import pytest

DEMO = pathlib.Path(__file__).parents[2] / "apps" / "demo-model" / "wiki-mamba"
TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<{{ who | default('assistant') }}>{% endif %}"
)


@pytest.fixture(scope="session")
def folder():
    return str(DEMO)


@pytest.fixture(scope="session")
def model(folder):
    return klens.Model(folder)


@pytest.fixture
def session(model):
    return klens.Session(model)


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory):
    copy = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(DEMO, copy)
    (copy / "chat_template.jinja").write_text(TEMPLATE)
    return klens.Model(str(copy))
