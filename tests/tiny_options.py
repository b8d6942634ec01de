"""Changes to shipped option files: networks and trainings of a second."""

from pathlib import Path

OPTIONS = Path(__file__).resolve().parent.parent / 'options'
NETWORK = {
    'network.backbone': 'test_efficientnet',
    'network.hidden': 8,
    'network.input_size': 40,
    'network.pretrained': False,
    'datasets.train.resize': 40,
    'datasets.train.crop_size': 32,
    'datasets.train.num_worker_per_gpu': 0,
    'train.total_epoch': 2,
}
PRIOR = NETWORK | {
    'datasets.train.support_size': 4,
    'datasets.train.query_size': 4,
    'datasets.train.tasks_per_epoch': 4,
    'datasets.train.batch_size_per_gpu': 2,
    'logger.save_latest_freq': 1,
}
ADAPT = NETWORK | {'datasets.train.batch_size_per_gpu': 4, 'train.scheduler.T_max': 2}
RANK = {
    'file': str(OPTIONS / 'train' / 'RankIQA' / 'rank_kodak.yml'),
    'change': {
        'datasets.train.crop_size': 32,
        'datasets.train.num_worker_per_gpu': 0,
        'network': {
            'type': 'MetaIQA',
            'backbone': 'test_efficientnet',
            'hidden': 8,
            'input_size': 40,
            'pretrained': False,
        },
        'train.total_epoch': 1,
        'train.scheduler.T_max': 1,
    },
}
"""A stage of ranking for the network of the others."""
