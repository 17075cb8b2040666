import torch

from tunemv3d_core.pictures import cut_out


def test_ground_is_white_where_the_field_sees_nothing():
    images = torch.ones(1, 3, 8, 8)
    images[0, :, 1:4, 1:4] = 0.5
    images[0, :, 2, 2] = 1.0  # a hole that the drawn part encloses
    images[0, :, 6, 6] = 0.97  # the decoder's white
    opacity = torch.zeros(1, 4, 4)
    opacity[0, 3, :2] = 1.0  # white, and the field says that it is there
    rgba = cut_out(images, opacity)
    assert torch.equal(rgba[:, :3], images)
    wanted = torch.zeros(8, 8)
    wanted[1:4, 1:4] = 1
    wanted[2, 2] = 0
    wanted[6:, :3] = 1
    assert torch.equal(rgba[0, 3][:, :3], wanted[:, :3]) and not rgba[0, 3, :, 4:].any()
