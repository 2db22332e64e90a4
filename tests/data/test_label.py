"""Labels: names to numbers."""

import numpy as np
import pytest

from vatt_jax.data.label import LabelOptions, encode_label


def test_one_and_several():
  one, several = (LabelOptions(multiple=multiple, names=("cat", "dog", "cow")) for multiple in (False, True))
  assert one.classes == 3
  assert encode_label("dog", one) == 1 and encode_label("", one) == -1 and encode_label("bird", one) == -1
  np.testing.assert_array_equal(encode_label("cow|cat", several), [1, 0, 1])
  np.testing.assert_array_equal(encode_label("", several), [0, 0, 0])


def test_another_number_of_classes_is_refused():
  with pytest.raises(ValueError, match="has 1 classes, the config 2"):
    LabelOptions(classes=2, names=("cat",))
