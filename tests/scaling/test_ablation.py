"""Study files: what they give, equal counts, and one sentence for each mistake."""

import dataclasses

import pytest

from launch import ablate
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse.scaling import ablation

HEAD = 'seeds = 2\nlearning_rates = [1e-2, 1e-3]\n[common]\nviews = 4\nwidth = 8\n'
REFERENCE = '[arms.first]\nmodel = "ssr_d"\n'


@pytest.fixture
def schema():
  fields = tuple(schema_lib.Field(f'field_{i}', 'categorical', 10) for i in range(8))
  return schema_lib.FeatureSchema(fields, ('label',), None, {}, 'abc', {}, None)


@pytest.fixture
def read(tmp_path):
  def write_and_read(text):
    path = tmp_path / 'mine.toml'
    path.write_text(text)
    return ablation.read_ablation(path)

  return write_and_read


def test_arms_take_the_common_fields_that_they_have(read, schema):
  study = read(
    HEAD + 'cross_layers = 2\n' + REFERENCE + '[arms.dense]\nmodel = "dcn_v2"\nwidth = 9\n'
    'says = "no views"\npublished = -0.5\n'
  )
  configs = ablation.configs(study, schema)
  assert (study.name, study.seeds, [a.name for a in study.arms]) == (
    'mine',
    (0, 1),
    ['first', 'dense'],
  )
  first, dense = configs['first'][0], configs['dense'][0]
  assert (first.views, first.width, first.data_fingerprint) == (4, 8, 'abc')
  assert (dense.views, dense.width, dense.options.cross_layers) == (1, 9, 2)
  assert [(c.learning_rate, c.seed) for c in configs['dense']] == [
    (1e-2, 0),
    (1e-2, 1),
    (1e-3, 0),
    (1e-3, 1),
  ]
  assert (study.arms[1].against, study.arms[1].says, study.arms[1].published) == (
    'first',
    'no views',
    -0.5,
  )


@pytest.mark.parametrize('count', ablation.EQUAL)
def test_an_arm_of_equal_size_is_as_near_as_a_width_can_bring_it(read, schema, count):
  study = read(
    HEAD
    + f'[arms.wide]\nmodel = "dense_mlp"\nagainst = "first"\nequal = "{count}"\n'
    + REFERENCE
    + 'against = "first"\n'
  )
  found = ablation.configs(study, schema)
  wanted = train.counts(found['first'][0], schema)[count]
  distance = lambda width: abs(
    train.counts(dataclasses.replace(found['wide'][0], width=width), schema)[count] - wanted
  )
  width = found['wide'][0].width
  assert width == min(range(1, 200), key=distance)
  assert distance(width) < 0.05 * wanted


@pytest.mark.parametrize(
  'text, problem',
  [
    ('seeds = ', 'mine.toml: not TOML'),
    (HEAD, "no 'arms'"),
    (HEAD + '[arms]\n', 'no arms'),
    (REFERENCE, "no 'seeds'"),
    ('rungs = 3\n' + HEAD + REFERENCE, "'rungs' is unknown; known: title"),
    (HEAD.replace('seeds = 2', 'seeds = 0') + REFERENCE, '0: expected numbers above 0'),
    (HEAD.replace('1e-2, 1e-3', '') + REFERENCE, 'learning_rates: expected at least one'),
    (HEAD + REFERENCE + 'published = "big"\n', "arm 'first': published='big': expected a number"),
    (HEAD + 'feed = "stream"\n' + REFERENCE, "common: 'feed' is no field"),
    (HEAD + '[arms.first]\nmodel = "ssr"\n', "arm 'first': model 'ssr' is unknown"),
    (HEAD + REFERENCE + '[arms.b]\nmodel = "ssr_d"\nagainst = "c"\n', "arm 'b': against='c'"),
    (HEAD + REFERENCE + 'equal = "flops_per_example"\n', "arm 'first': equal='flops_per_example'"),
    (
      HEAD + REFERENCE + '[arms.b]\nmodel = "ssr_d"\nequal = "rows"\n',
      "equal='rows': expected one of dense_params",
    ),
    (HEAD + REFERENCE + 'gates = "relu"\n', 'gates: ssr_d has no such field; did you mean gate'),
    (HEAD + REFERENCE + 'learning_rate = 0.1\n', "arm 'first': learning_rate: set by the study"),
    (HEAD + 'dropuot = 0.1\n' + REFERENCE, "common: 'dropuot' is no field"),
    (HEAD + 'seed = 3\n' + REFERENCE, "common: 'seed' is no field"),
    (HEAD + REFERENCE + 'gate = "rely"\n', "arm 'first': gate=rely: expected one of ics"),
  ],
)
def test_a_mistake_is_one_sentence_naming_the_file(read, text, problem):
  with pytest.raises(ValueError, match='mine.toml') as e:
    read(text)
  assert problem in str(e.value)


def test_a_value_out_of_range_names_the_arm(read):
  with pytest.raises(ValueError, match="arm 'first': alpha=-1.0: expected"):
    read(HEAD + REFERENCE + 'alpha = -1.0\n')


def test_every_study_of_the_project_can_be_read(schema):
  """And arms of one name mean the same trials in all of them, so that they share a directory."""
  files = sorted(ablate.STUDIES.glob('*.toml'))
  assert {p.stem for p in files} >= {'table4', 'table5', 'views', 'width', 'depth', 'controls'}
  seen: dict[str, tuple] = {}
  for path in files:
    study = ablation.read_ablation(path)
    assert len(study.seeds) >= 5
    for name, configs in ablation.configs(study, schema).items():
      if name != 'ssr_s':  # the axes have a wider reference than table 4
        assert seen.setdefault(name, configs) == configs
