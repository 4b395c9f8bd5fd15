"""Study files: what they give, and one sentence for each mistake."""

import pytest

from launch import sweep_flags
from rec_sparse import schema as schema_lib
from rec_sparse.scaling import grid
from rec_sparse.scaling import study_file

HEAD = 'seeds = 2\nlearning_rates = [1e-2, 1e-3]\n[common]\nviews = 4\nwidth = 8\n'
FIRST = '[arms.first]\nmodel = "ssr_d"\n'
LADDER = '[arms.wide]\nmodel = "ssr_d"\nscale.width = [8, 16]\n'


@pytest.fixture
def read(tmp_path):
  def write_and_read(text):
    path = tmp_path / 'mine.toml'
    path.write_text(text)
    return study_file.read_study_file(path)

  return write_and_read


def test_arms_take_the_common_fields_that_they_have(read):
  study = read(
    HEAD + 'cross_layers = 2\n' + FIRST + '[arms.dense]\nmodel = "dcn_v2"\nwidth = 9\n'
    'says = "no views"\npublished = -0.5\n'
  )
  assert (study.name, study.title, study.seeds) == ('mine', 'mine', (0, 1))
  first, dense = study.arms
  assert first.overrides == {'views': 4, 'width': 8} and first.is_reference
  assert dense.overrides == {'views': 4, 'width': 9, 'cross_layers': 2}
  assert (dense.against, dense.says, dense.published) == ('first', 'no views', -0.5)


def test_a_scale_takes_any_field_and_arms_may_share_a_model(read):
  study = read(
    HEAD.replace('seeds = 2', 'seeds = [3, 1]')
    + LADDER
    + '[arms.relu]\nmodel = "ssr_d"\ngate = "relu"\nscale.iterations = [1, 5]\n'
    + FIRST
    + 'scale = {}\n'
  )
  assert study.seeds == (3, 1)
  assert [arm.name for arm in study.ladders] == ['wide', 'relu']
  assert study.arms[0].scale == {'width': (8, 16)} and study.arms[0].overrides == {'views': 4}
  assert study.arms[1].scale == {'iterations': (1, 5)} and not study.arms[1].against
  assert [arm.name for arm in study.singles] == ['first'] and study.singles[0].is_reference


@pytest.mark.parametrize(
  'text, problem',
  [
    ('seeds = ', 'not TOML'),
    (HEAD, 'arms: missing'),
    (HEAD + '[arms]\n', 'arms: expected at least one'),
    (FIRST, 'seeds: missing'),
    ('rungs = 3\n' + HEAD + FIRST, 'rungs: unknown entry'),
    (HEAD.replace('seeds = 2', 'seeds = 0') + FIRST, 'seeds: expected a count above 0'),
    (HEAD.replace('seeds = 2', 'seeds = "2"') + FIRST, 'seeds: expected a count above 0'),
    (HEAD.replace('1e-2, 1e-3', '') + FIRST, 'learning_rates: expected numbers above 0'),
    (HEAD.replace('1e-2', 'inf') + FIRST, 'learning_rates: expected numbers above 0'),
    (HEAD + '[arms.first]\nwidth = 3\n', "arm 'first': model: missing"),
    (HEAD + '[arms.first]\nmodel = "ssr"\n', "arm 'first': model 'ssr' is unknown"),
    (HEAD + FIRST + 'published = "big"\n', "arm 'first': published: expected a valid number"),
    (HEAD + 'feed = "stream"\n' + FIRST, 'common: feed: set by the study'),
    (HEAD + 'dropuot = 0.1\n' + FIRST, 'common: dropuot: ssr_d has no such field; did you mean'),
    (HEAD + FIRST + '[arms.b]\nmodel = "ssr_d"\nagainst = "c"\n', "arm 'b': against='c'"),
    (HEAD + FIRST + LADDER + 'against = "first"\n', "arm 'wide': against: is for an arm of one"),
    (HEAD + LADDER + FIRST + 'against = "wide"\n', "arm 'first': against='wide': there is no such"),
    (HEAD + FIRST + 'equal = "flops_per_example"\n', "arm 'first': equal='flops_per_example'"),
    (HEAD + FIRST + 'equal = "rows"\n', "arm 'first': equal: expected ''"),
    (HEAD + FIRST + 'gates = "relu"\n', 'gates: ssr_d has no such field; did you mean gate'),
    (HEAD + FIRST + 'gate = "rely"\n', "arm 'first': gate=rely: expected one of ics"),
    (HEAD + FIRST + 'learning_rate = 0.1\n', "arm 'first': learning_rate: set by the study"),
    (HEAD + FIRST + 'scale.seed = [1]\n', "arm 'first': seed: set by the study"),
    (HEAD + FIRST + 'scale.width = []\n', "arm 'first': scale.width: expected at least one"),
    (HEAD + FIRST + 'scale.width = 8\n', "arm 'first': scale.width: expected a valid array"),
    (HEAD + FIRST + 'scale.width = [0]\n', "arm 'first': width=0: expected"),
    (HEAD + LADDER + 'width = 9\n', "arm 'wide': width: stands in its scale too"),
  ],
)
def test_a_mistake_is_one_sentence_naming_the_file(read, text, problem):
  with pytest.raises(ValueError, match='mine.toml: ') as e:
    read(text)
  assert problem in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize('name', ['frappe', 'ml1m', 'autofis'])
def test_studies_of_published_settings_can_be_read(name):
  """They share no directory with others: an arm is a model as its source has it."""
  study = study_file.read_study_file(sweep_flags.file_of(f'published/{name}'))
  fields = tuple(schema_lib.Field(f'field_{i}', 'categorical', 10) for i in range(10))
  schema = schema_lib.FeatureSchema(fields, ('label',), None, {}, 'abc', {}, None)
  assert study.name == name and len(study.seeds) >= 5
  assert all(configs for configs in grid.trials(study, schema).values())


def test_every_study_of_the_project_can_be_read():
  """And arms of one name mean the same trials in all of them, so that they share a directory; but
  for studies at published settings, which are each for a data set of their own.
  """
  files = sorted(sweep_flags.STUDIES.glob('*.toml'))
  assert {p.stem for p in files} >= {'table4', 'table5', 'views', 'width', 'depth', 'controls'}
  fields = tuple(schema_lib.Field(f'field_{i}', 'categorical', 10) for i in range(8))
  schema = schema_lib.FeatureSchema(fields, ('label',), None, {}, 'abc', {}, None)
  seen: dict[str, tuple] = {}
  for path in files:
    study = study_file.read_study_file(path)
    assert len(study.seeds) >= 5
    if any(arm.published_auc for arm in study.arms):
      assert grid.trials(study, schema)
      continue
    for name, configs in grid.trials(study, schema).items():
      if study.singles and name != 'ssr_s':  # the axes have a wider reference than table 4
        assert seen.setdefault(name, configs) == configs
