"""Trains FuxiCTR's models on request, for launch.benches.peer.

The Python is that of the peer's own environment.

Reads one JSON request a line from stdin, {"name", "model", "hidden", "cross_layers", "batch",
"epochs"}, and answers on stdout with {"seconds", "examples"}. What is timed is `epochs` times its
own `train_epoch`, data loader included: it shuffles the rows, collates batches, and takes steps
(zero_grad, forward, loss, backward, clipping, Adam). Building model and loader is not timed, and
there is no validation.
"""

import json
import pathlib
import sys
import time

from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.layers import CrossNetV2
from fuxictr.pytorch.layers import FeatureEmbedding
from fuxictr.pytorch.layers import MLP_Block
from fuxictr.pytorch.models import BaseModel
import torch

NEVER = 2**31  # steps between validations


class Network(BaseModel):
  """DNN or parallel DCN-V2, joined from FuxiCTR's layers as in its model zoo.

  The package leaves the zoo out.
  """

  def __init__(self, feature_map, request):
    super().__init__(
      feature_map, gpu=-1, eval_steps=NEVER, verbose=0, model_root='.', metrics=['AUC']
    )
    self._max_gradient_norm = 10.0
    self._eval_steps = NEVER
    self._total_steps = 0
    self._stop_training = False

    inputs = feature_map.sum_emb_out_dim()
    hidden = request['hidden']
    self.embedding_layer = FeatureEmbedding(feature_map, feature_map.default_emb_dim)
    self.cross = None
    if request['model'] == 'dcn_v2':
      self.cross = CrossNetV2(inputs, request['cross_layers'])
    self.mlp = MLP_Block(input_dim=inputs, hidden_units=hidden)
    self.fc = torch.nn.Linear(hidden[-1] + (inputs if self.cross else 0), 1)
    self.compile('adam', 'binary_crossentropy', 1e-3)
    self.reset_parameters()
    self.model_to_device()

  def forward(self, inputs):
    x = self.embedding_layer(self.get_inputs(inputs), flatten_emb=True)
    joined = self.mlp(x)
    if self.cross:
      joined = torch.cat([self.cross(x), joined], dim=-1)
    return {'y_pred': self.output_activation(self.fc(joined))}


def main(directory, data_format, workers):
  directory = pathlib.Path(directory)
  feature_map = FeatureMap('peer', str(directory))
  feature_map.load(
    str(directory / 'feature_map.json'), json.loads((directory / 'params.json').read_text())
  )
  made = {}
  print(json.dumps({'torch': torch.__version__, 'threads': torch.get_num_threads()}), flush=True)
  for line in sys.stdin:
    request = json.loads(line)
    if request['name'] not in made:
      torch.manual_seed(0)
      loader, _ = RankDataLoader(
        feature_map,
        stage='train',
        train_data=str(directory / f'train.{data_format}'),
        batch_size=request['batch'],
        shuffle=True,
        data_format=data_format,
        num_workers=workers,
      )
      made[request['name']] = Network(feature_map, request), loader
    model, loader = made[request['name']]
    began = time.perf_counter()
    for _ in range(request['epochs']):
      model.train_epoch(loader)
    seconds = time.perf_counter() - began
    answer = {'seconds': seconds, 'examples': request['epochs'] * loader.num_samples}
    print(json.dumps(answer), flush=True)


if __name__ == '__main__':
  main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
