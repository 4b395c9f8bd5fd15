"""What README, WORKSPACE and docs name is there: files, links, commands and their flags."""

import importlib
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [
  'README.md',
  'WORKSPACE.md',
  *(f'docs/{path.name}' for path in (ROOT / 'docs').glob('*.md')),
]
FLAGS_OF = {'launch.prepare': 'launch.prepare_flags'}  # where a program's flags are, if elsewhere


def tracked():
  """Files of the checkout, those that are not committed yet included."""
  listed = subprocess.run(
    ['git', 'ls-files', '--cached', '--others', '--exclude-standard'],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  return [line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


FILES = tracked()


@pytest.mark.parametrize('page', PAGES)
def test_files_that_a_page_names_are_there(page):
  text = (ROOT / page).read_text()
  named = re.findall(r'[\w/.-]*\w\.(?:py|md|toml)\b', text)
  missing = [name for name in named if not any(f'/{path}'.endswith(f'/{name}') for path in FILES)]
  assert not missing


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
  text = (ROOT / page).read_text()
  for link in re.findall(r'\]\(([^)#:]+)(?:#[^)]*)?\)', text):
    assert (ROOT / page).parent.joinpath(link).exists(), link


@pytest.mark.parametrize('page', PAGES)
def test_anchors_are_headings(page):
  text = (ROOT / page).read_text()
  for link, anchor in re.findall(r'\]\(([^)#:]*)#([^)]*)\)', text):
    target = (ROOT / page).parent / link if link else ROOT / page
    headings = re.findall(r'^#+ (.*)$', target.read_text(), re.MULTILINE)
    assert anchor in [_anchor(heading) for heading in headings], anchor


def _anchor(heading):
  """What GitHub makes of a heading."""
  kept = re.sub(r'[^\w\- ]', '', heading.lower())
  return kept.replace(' ', '-')


@pytest.mark.parametrize('page', PAGES)
def test_commands_have_the_flags_that_a_page_gives_them(page):
  text = (ROOT / page).read_text().replace('\\\n', ' ')
  for module, rest in re.findall(r'python -m (launch[\w.]*)([^\n`]*)', text):
    own = importlib.import_module(FLAGS_OF.get(module, module)).FLAGS
    for name in re.findall(r'--([a-z_0-9]+)', rest):
      assert name in own or name == 'help', f'{module} --{name}'


@pytest.mark.parametrize('page', PAGES)
def test_targets_of_make_are_there(page):
  targets = re.findall(r'^(\w+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
  text = (ROOT / page).read_text()
  for target in re.findall(r'^make (\w+)|`make (\w+)', text, re.MULTILINE):
    assert ''.join(target) in targets
