# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Small made samples in each benchmark's own files, with answers to them.

``MADE`` gives, by the name of a benchmark's config: what writes its files
below the folder ``data``, what a model is made to say (by question or image
id), and the scores that follow, worked out by hand.
"""

import base64
import io
import json
import os

from PIL import Image


def image_bytes():
    buffer = io.BytesIO()
    Image.new('RGB', (12, 8), (200, 30, 30)).save(buffer, 'PNG')
    return buffer.getvalue()


def put(path, content):
    """Write an image, text, JSON, or JSON lines by the path's ending."""
    path = os.path.join('data', path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if content is None:
        with open(path, 'wb') as file:
            file.write(image_bytes())
    elif isinstance(content, str):
        with open(path, 'w') as file:
            file.write(content)
    else:
        with open(path, 'w') as file:
            json.dump(content, file)


def lines(items):
    return ''.join(json.dumps(item) + '\n' for item in items)


def pope(which):

    def write():
        put('coco/val2014/COCO_val2014_000000000001.jpg', None)
        put(f'pope/coco_pope_{which}.json', lines([
            dict(question_id=i, image='COCO_val2014_000000000001.jpg',
                 text=f'Is there a {thing} in the image?', label=label)
            for i, (thing, label) in enumerate([
                ('dog', 'yes'), ('cat', 'no'), ('cup', 'no')])
        ]))

    return write


def mme():
    root = 'mme/MME_Benchmark_release_version'
    from mmpretrain_minigpt4.datasets.benchmarks.yes_no import MME_TASKS
    text = 'Is it red? Please answer yes or no.\t{}\nIs it blue?\t{}\n'
    for task in MME_TASKS:
        if task == 'artwork':
            put(f'{root}/{task}/images/1.jpg', None)
            put(f'{root}/{task}/questions_answers_YN/1.txt',
                text.format('Yes', 'No'))
        else:
            put(f'{root}/{task}/1.png', None)
            put(f'{root}/{task}/1.txt', text.format('Yes', 'No'))


def vsr():
    for name in ('1.jpg', '2.jpg'):
        put(f'vsr/images/{name}', None)
    put('vsr/zeroshot/test.jsonl', lines([
        dict(image='1.jpg', caption='The cat is on the bed.', label=1,
             relation='on'),
        dict(image='2.jpg', caption='The cat is under it.', label=0,
             relation='under')]))


def hateful_memes():
    put('hateful_memes/img/01.png', None)
    put('hateful_memes/dev_seen.jsonl', lines([
        dict(id=1, img='img/01.png', label=0, text='good {morning}'),
        dict(id=2, img='img/01.png', label=1, text='bad')]))


def vqa(folder, questions, annotations):

    def write():
        put('coco/val2014/COCO_val2014_000000000007.jpg', None)
        put(f'{folder}/{questions}', dict(questions=[
            dict(question_id=70 + i, image_id=7, question=question)
            for i, question in enumerate(['What color is it?', 'Is it on?'])
        ]))
        people = [['red'] * 9 + ['pink'], ['no'] * 3 + ['yes'] * 7]
        put(f'{folder}/{annotations}', dict(annotations=[
            dict(question_id=70 + i, answer_type=kind,
                 answers=[dict(answer=a) for a in answers])
            for i, (answers, kind) in enumerate(
                zip(people, ['other', 'yes/no'], strict=True))
        ]))

    return write


def aokvqa():
    put('coco/val2017/000000000009.jpg', None)
    put('aokvqa/aokvqa_v1p0_val.json', [
        dict(question_id=name, image_id=9, question='What is it?',
             choices=['cat', 'dog', 'cow', 'pig'], correct_choice_idx=1,
             direct_answers=['dog'] * 2 + ['puppy'] * 8,
             difficult_direct_answer=hard)
        for name, hard in [('a', False), ('b', True), ('c', False)]
    ])


def gqa():
    put('gqa/images/n1.jpg', None)
    put('gqa/testdev_balanced_questions.json', {
        '11': dict(imageId='n1', question='Is it red?', answer='yes',
                   types=dict(structural='verify')),
        '12': dict(imageId='n1', question='What is it?', answer='cup',
                   types=dict(structural='query'))})


def textvqa():
    put('textvqa/train_images/abc.jpg', None)
    put('textvqa/TextVQA_0.5.1_val.json', dict(data=[
        dict(question_id=5, image_id='abc', question='What does it say?',
             answers=['stop'] * 8 + ['go'] * 2)]))


def vizwiz():
    put('vizwiz/val/VizWiz_val_00000001.jpg', None)
    put('vizwiz/val/VizWiz_val_00000002.jpg', None)
    put('vizwiz/Annotations/val.json', [
        dict(image='VizWiz_val_00000001.jpg', question='What is this?',
             answer_type='other',
             answers=[dict(answer='soup', answer_confidence='maybe')] * 4 +
             [dict(answer='can', answer_confidence='yes')] * 6),
        dict(image='VizWiz_val_00000002.jpg', question='What is this?',
             answer_type='unanswerable', answerable=0,
             answers=[dict(answer='unanswerable')] * 10)])


def mm_vet():
    put('mm-vet/images/v1_0.png', None)
    put('mm-vet/mm-vet.json', dict(v1_0=dict(
        imagename='v1_0.png', question='What is x?', answer='1<OR>2',
        capability=['ocr', 'math'])))


def scienceqa():
    put('scienceqa/images/test/4/image.png', None)
    problem = dict(question='Which is a solid?', choices=['ice', 'steam'],
                   answer=0, hint='Look.', image='image.png',
                   subject='natural science', grade='grade4')
    put('scienceqa/problems.json', {
        '4': problem, '5': dict(problem, image=None)})
    put('scienceqa/pid_splits.json', dict(test=['4', '5']))


def iconqa():
    for name, answer in (('2', 0), ('10', 1)):
        put(f'iconqa/test/choose_txt/{name}/image.png', None)
        put(f'iconqa/test/choose_txt/{name}/data.json',
            dict(question='How likely?', choices=['certain', 'impossible'],
                 answer=answer, grade='grade1'))


def mmbench():
    image = base64.b64encode(image_bytes()).decode()
    head = ['index', 'question', 'hint', 'A', 'B', 'C', 'D', 'answer',
            'category', 'l2-category', 'image']
    rows = [
        ['1', 'Which?', 'nan', 'cat', 'dog', 'cow', 'nan', 'B', 'animals',
         'logic', image],
        # The same picture, by its question's number.
        ['2', 'Which?', 'Look!', 'up', 'down', '', '', 'A', 'places',
         'logic', '1'],
        # A rotation that the file holds already.
        ['1000001', 'Which?', '', 'dog', 'cow', 'cat', '', 'A', 'animals',
         'logic', image],
    ]
    put('mmbench/mmbench_dev_20230712.tsv',
        ''.join('\t'.join(row) + '\n' for row in [head, *rows]))


def seed_bench():
    put('seed-bench/SEED-Bench-image/1_2', None)
    question = dict(choice_a='one', choice_b='two', choice_c='three',
                    choice_d='four', data_id='1_2', data_type='image',
                    question='How many?', question_type_id=5)
    put('seed-bench/SEED-Bench.json', dict(
        question_type={'Instances Counting': 5, 'Action Recognition': 10},
        questions=[
            dict(question, question_id='q1', answer='C'),
            dict(question, question_id='q2', answer='A'),
            dict(question, question_id='q3', answer='A', data_type='video')
        ]))


def karpathy(path, prefix, split):

    def write():
        images = []
        for i in (1, 2):
            name = f'{i}.jpg'
            put(f'{prefix}{name}', None)
            images.append(dict(
                filename=name, split=split, imgid=i, sentences=[
                    dict(raw=f'A dog runs on grass {i}.')] * 5,
                **(dict(filepath='val2014', cocoid=i) if 'coco' in path
                   else {})))
        images.append(dict(filename='none.jpg', split='train', imgid=3,
                           sentences=[]))
        put(path, dict(images=images))

    return write


def nocaps():
    put('nocaps/images/a.jpg', None)
    put('nocaps/images/b.jpg', None)
    put('nocaps/nocaps_val_4500_captions.json', dict(
        images=[dict(id=0, file_name='a.jpg', domain='in-domain'),
                dict(id=1, file_name='b.jpg', domain='out-domain')],
        annotations=[dict(image_id=i, caption=caption) for i in (0, 1)
                     for caption in ['A dog runs.', 'The dog is quick.']]))


def chair():
    images = []
    for i in range(1, 4):
        put(f'coco/val2014/{i}.jpg', None)
        images.append(dict(id=i, file_name=f'{i}.jpg'))
    put('coco/annotations/captions_val2014.json', dict(
        images=images,
        annotations=[dict(image_id=i, caption='A dog.') for i in (1, 2, 3)]))
    put('coco/annotations/instances_val2014.json', dict(
        images=images, categories=[dict(id=1, name='person')],
        annotations=[dict(image_id=1, category_id=1)]))


YES = 'Yes, there is one in the image.'
NO = 'There is no such thing.'
TALE = 'A brown dog runs over the green grass {}.'
COCO = karpathy('coco/annotations/dataset_coco.json', 'coco/val2014/', 'val')
COCO_TEST = karpathy('coco/annotations/dataset_coco.json', 'coco/val2014/',
                     'test')
# Red agrees with 9 of 10: (9 * 1 + 1 * 1) / 10; no with 3 of 10: those three
# see 2 others, seven see 3: (3 * 2/3 + 7) / 10 = 0.9.
VQA = ({70: 'The ball is red.', 71: 'No, it is not on.'}, dict(acc=95.))
POPE = ({0: YES, 1: NO, 2: YES},
        dict(accuracy=200 / 3, precision=50., recall=100., f1=200 / 3,
             yes_ratio=200 / 3, strict_accuracy=200 / 3, unclear=0.))

MADE = {
    **{f'pope_{which}': (pope(which), *POPE)
       for which in ('random', 'popular', 'adversarial')},
    # Both right in each task but artwork, where the second is wrong.
    'mme': (mme, lambda i: 'No.' if i.endswith('/1') and 'artwork' not in i
            else 'Yes.',
            dict(perception=9 * 200 + 50., cognition=800., total=2650.,
                 artwork=50., extracted_total=2650., unclear=0.)),
    'vsr': (vsr, {0: 'True.', 1: 'I am not sure.'},
            dict(accuracy=50., unclear=50., accuracy_on=100.,
                 accuracy_under=0.)),
    'hateful_memes': (hateful_memes, {1: 'No.', 2: 'No.'},
                      dict(accuracy=50., recall=0., f1=0.)),
    'vqav2': (vqa('coco/annotations',
                  'v2_OpenEnded_mscoco_val2014_questions.json',
                  'v2_mscoco_val2014_annotations.json'), VQA[0],
              {'acc': 95., 'acc_other': 100., 'acc_yes/no': 90.}),
    'okvqa': (vqa('okvqa', 'OpenEnded_mscoco_val2014_questions.json',
                  'mscoco_val2014_annotations.json'), *VQA),
    # b is too difficult and not asked; dog is said by two: 2/3.
    'aokvqa_direct': (aokvqa, {'a': 'It is a dog.', 'c': 'Hard to tell.'},
                      dict(acc=100 / 3, unclear=50., raw_acc=0.)),
    'aokvqa_choice': (aokvqa, {'a': 'B', 'b': 'The dog.', 'c': 'A dog, pig.'},
                      dict(accuracy=200 / 3, unclear=100 / 3)),
    'gqa': (gqa, {'11': 'Yes, it is.', '12': 'cup'},
            dict(acc=100., raw_acc=50., acc_verify=100.)),
    # go: two see one other (1/3), eight see two (2/3): (2/3 + 16/3) / 10
    'textvqa': (textvqa, {5: 'It says "go".'}, dict(acc=60.)),
    # All ten agree on the second, so nothing is normalised.
    'vizwiz': (vizwiz, {'VizWiz_val_00000001.jpg': 'This is a can.',
                        'VizWiz_val_00000002.jpg': 'unanswerable'},
               dict(acc=100., acc_other=100., acc_unanswerable=100.)),
    'mm_vet': (mm_vet, {'v1_0': 'x is 1.'}, dict(saved=1., words=3.)),
    'scienceqa_img': (scienceqa, {'4': 'The answer is A.'},
                      dict(accuracy=100., subject_natural_science=100.)),
    'iconqa': (iconqa, {'2': 'certain', '10': 'It is certain.'},
               dict(accuracy=50., unclear=0.)),
    # Question 1 is right in all three turns, 2 always says A.
    'mmbench': (mmbench, {'1/0': 'B', '1/1': 'A', '1/2': 'C', '2/0': 'A',
                          '2/1': 'A'},
                dict(accuracy=100., circular=50., category_animals=100.,
                     category_places=0., l2_category_logic=50.)),
    'seed_bench': (seed_bench, {'q1': 'C. three', 'q2': 'There are two.'},
                   dict(accuracy=50., category_Instances_Counting=50.)),
    # What the random model finds likelier is worked out in its own test.
    'seed_bench_likelihood': (seed_bench, {'q1': '', 'q2': ''},
                              dict(unclear=0.)),
    'coco_caption': (COCO, {1: TALE.format(1), 2: 'A cat.'},
                     dict(words=5.5)),
    'flickr30k': (karpathy('flickr30k/dataset_flickr30k.json',
                           'flickr30k/images/', 'test'),
                  {1: 'A dog runs on grass 1.', 2: 'a dog runs on grass 2'},
                  dict(Bleu_1=1., Bleu_4=1., ROUGE_L=1.)),
    'nocaps': (nocaps, {0: 'A dog runs.', 1: 'Zebra.'},
               {'CIDEr_out-domain': 0.}),
    # person is true of 1 alone (instances), dog of all (captions).
    'chair_long': (chair, {1: 'A man and a dog.', 2: 'A man and a dog.',
                           3: 'Nothing.'},
                   dict(CHAIR_s=100 / 3, CHAIR_i=25., recall=75.)),
    'chair_short': (chair, {1: 'A dog.', 2: 'A dog.', 3: 'A cat, a dog.'},
                    dict(CHAIR_s=100 / 3, CHAIR_i=25.)),
    'degeneration_descriptions': (COCO_TEST, {1: TALE.format(1), 2: 'A dog'},
                                  dict(failed=50., short=50., words=5.5)),
    'degeneration_poems': (COCO_TEST, {
        1: 'A dog runs on the grass so green\nThe best that I have ever seen',
        2: 'A dog runs on the grass so green and'},
                     dict(failed=50., broken_off=50.)),
    'caption_recall': (COCO, {1: TALE.format(1), 2: 'A cat.'},
                       dict(covered=2.5, of=5., share=50.)),
}
