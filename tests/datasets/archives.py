"""Small archives in the published layouts of Cars196, CUB200-2011 and SOP, made by the tests."""

import io
import tarfile
import zipfile

import numpy as np
from scipy.io import savemat

from tests.datasets.images import smallest


def tar_of(path, members):
    """A .tgz of name -> bytes, or name -> (type, linkname)."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                tar.addfile(info)
    return path


def zip_of(path, members):
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return path


def cub_archive(path, n_images=2):
    names = [
        f"{label + 1:03d}.Bird_{label}/Bird_{i}.jpg"
        for label in range(200)
        for i in range(n_images)
    ]
    table = "".join(f"{i} {name}\n" for i, name in enumerate(names, 1)).encode()
    members = {f"CUB_200_2011/images/{name}": smallest() for name in names}
    return tar_of(path, {"CUB_200_2011/images.txt": table, **members})


def cars_files(folder, n_images=196):
    """car_ims.tgz and cars_annos.mat; image i is of class i modulo 196."""
    kinds = [(name, object) for name in ("relative_im_path", "x1", "y1", "x2", "y2", "class")]
    rows = np.empty((1, n_images), dtype=kinds)
    for i in range(n_images):
        rows[0, i] = (f"car_ims/{i + 1:06d}.jpg", 1, 2, 3, 4, np.uint8(i % 196 + 1))
    savemat(folder / "cars_annos.mat", {"annotations": rows})
    images = {f"car_ims/{i + 1:06d}.jpg": smallest() for i in range(n_images)}
    return [folder / "cars_annos.mat", tar_of(folder / "car_ims.tgz", images)]


def sop_archive(path):
    """Every 20th class with two images."""
    members = {}
    for table, labels in (("train", range(1, 11319, 20)), ("test", range(11319, 22635, 20))):
        lines = ["image_id class_id super_class_id path"]
        for label in labels:
            for i in range(2):
                image = f"bicycle_final/{label}_{i}.JPG"
                lines.append(f"{len(lines)} {label} 1 {image}")
                members[f"Stanford_Online_Products/{image}"] = smallest()
        members[f"Stanford_Online_Products/Ebay_{table}.txt"] = "\n".join([*lines, ""])
    return zip_of(path, members)
