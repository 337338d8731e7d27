"""One contract for every decoder: what `decode` gives, in order, whatever the files are.

Imports nothing that a bare machine with a card may lack.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from jpegs import COLOUR, GRAY, QUICK, SLOW, draw, hurt, save

from foveate.dataloaders.decoders import cpu as cpu_module
from foveate.dataloaders.decoders import vetting
from foveate.dataloaders.decoders.choose import LEAST, choose_decoder
from foveate.dataloaders.decoders.contract import AGREES, Decoded
from foveate.dataloaders.decoders.cpu import CpuDecoder
from foveate.dataloaders.decoders.dali import DaliDecoder
from foveate.dataloaders.decoders.decode import Unreadable, decode
from foveate.dataloaders.decoders.nvjpeg import NvjpegDecoder
from foveate.dataloaders.errors import DataError

HAS_DALI = (
    importlib.util.find_spec("nvidia.dali") is not None
    if importlib.util.find_spec("nvidia")
    else False
)
needs_dali = pytest.mark.skipif(not HAS_DALI, reason="DALI is not installed (extra dali)")


def truth(data: bytes) -> np.ndarray | str:
    """What `decode` says: pixels or the reason."""
    try:
        return decode(data)
    except Unreadable as error:
        return str(error)


def array(one: Decoded) -> np.ndarray:
    """Its pixels in host memory."""
    assert one.pixels is not None, one.reason
    if isinstance(one.pixels, np.ndarray):
        return one.pixels
    assert one.pixels.device.type == "cuda"
    return one.pixels.cpu().numpy()


def owner(pixels: np.ndarray) -> object:
    """Whose memory it is."""
    while isinstance(pixels, np.ndarray) and pixels.base is not None:
        pixels = pixels.base
    return pixels


class DecoderTests:
    """The contract. A back end subclasses it and says how one is made."""

    exact = True
    holds: type = np.ndarray

    @staticmethod
    def make():
        """A decoder."""
        raise NotImplementedError

    @pytest.fixture
    def decoder(self):
        made = self.make()
        yield made
        made.close()

    def check(self, decoder, one: Decoded, data: bytes) -> None:
        """Pixels within the stated bound of `decode`, or its very words."""
        wanted = truth(data)
        if isinstance(wanted, str):
            assert one.pixels is None and one.reason == wanted
            return
        found = array(one)
        assert one.reason == "" and found.dtype == wanted.dtype and found.shape == wanted.shape
        assert found.flags.c_contiguous and isinstance(one.pixels, self.holds)
        assert "nvidia" not in type(owner(found)).__module__  # DALI's memory is DALI's
        apart = np.abs(found.astype(int) - wanted)
        name = "CPU" if one.path.startswith("CPU") else decoder.name
        largest, mean = AGREES[name]["gray" if wanted.shape[2] == 1 else "colour"]
        assert apart.max() <= largest and apart.mean() <= mean, (one.path, apart.max())

    def test_every_kind_of_file_is_decoded_or_refused_as_decode_does(self, decoder):
        files = [*QUICK.values(), *(data for data, _ in SLOW.values())]
        done = decoder.decode_many(files)
        for one, data in zip(done, files, strict=True):
            self.check(decoder, one, data)
        assert sum(decoder.counts.values()) == len(files)
        refused = sum(isinstance(truth(data), str) for data in files)
        assert decoder.counts["unreadable"] == refused > 5

    def test_files_that_the_cpu_takes_over_are_counted_with_the_reason(self, decoder):
        done = decoder.decode_many([*QUICK.values(), *(data for data, _ in SLOW.values())])
        if decoder.name == "CPU":
            assert {one.path for one in done} == {"CPU"}
            return
        assert {one.path for one in done[: len(QUICK)]} == {decoder.name}
        assert [one.path for one in done[len(QUICK) :]] == [f"CPU: {w}" for _, w in SLOW.values()]
        assert decoder.counts[decoder.name] == len(QUICK)
        assert decoder.counts["CPU: progressive"] == 2

    def test_order_and_ragged_sizes_survive_batches(self, decoder):
        sides = [(40 + 7 * n % 50, 30 + 11 * n % 70, 1 + 2 * (n % 3 == 0)) for n in range(60)]
        files = [save(draw(*size, seed=n), progressive=n % 7 == 0) for n, size in enumerate(sides)]
        done = decoder.decode_many(files)
        assert [tuple(one.pixels.shape) for one in done] == sides
        for one, data in zip(done, files, strict=True):
            self.check(decoder, one, data)

    def test_pixels_outlive_the_next_batch(self, decoder):
        (first,) = decoder.decode_many([QUICK["gray"]])
        for seed in range(4):
            decoder.decode_many([save(draw(96, 130, seed=seed + 1), quality=90)])
        self.check(decoder, first, QUICK["gray"])

    def test_nothing_gives_nothing(self, decoder):
        assert decoder.decode_many([]) == [] and not decoder.counts

    def test_damage_inside_is_seen_where_that_was_asked_for_and_never_an_error(self, decoder):
        pytest.importorskip("simplejpeg")
        files = [hurt(QUICK[name], seed) for seed in range(40) for name in ("gray", "4:2:0")]
        done = decoder.decode_many(files)
        for one, data in zip(done, files, strict=True):
            assert (one.pixels is None) == (one.reason != "")
            if self.exact and self.holds is np.ndarray:
                self.check(decoder, one, data)
            elif self.exact:  # broken chroma is no measure of agreement
                assert (one.pixels is None) == isinstance(truth(data), str)
        (sound,) = decoder.decode_many([QUICK["gray"]])
        self.check(decoder, sound, QUICK["gray"])

    def test_sixteen_bits_stay_sixteen(self, decoder):
        imagecodecs = pytest.importorskip("imagecodecs")
        data = imagecodecs.png_encode(draw(20, 30).astype(np.uint16) * 257)
        (one,) = decoder.decode_many([data])
        self.check(decoder, one, data)
        assert array(one).dtype == np.uint16

    def test_a_machine_without_memory_is_not_the_images_fault(self, decoder, monkeypatch):
        def fail(_: bytes) -> np.ndarray:
            raise MemoryError

        monkeypatch.setattr(cpu_module, "decode", fail)
        with pytest.raises(MemoryError):
            decoder.decode_many([QUICK["gray"], SLOW["PNG"][0]])
        monkeypatch.undo()
        (one,) = decoder.decode_many([QUICK["gray"]])
        self.check(decoder, one, QUICK["gray"])

    def test_a_file_that_vetting_lets_through_ends_no_pipeline(self, decoder, monkeypatch):
        if decoder.name == "CPU":
            pytest.skip("nothing is vetted for the CPU")
        cut = QUICK["gray"][:-400]
        blind = vetting.Vetted(memoryview(cut), 1, GRAY.size)
        plain = vetting.vet
        monkeypatch.setattr(vetting, "vet", lambda d, e: blind if d == cut else plain(d, e))
        files = [QUICK["gray"], cut, QUICK["gray, odd sides"], QUICK["4:2:0"]]
        done = decoder.decode_many(files)
        for one, data in zip(done[2:], files[2:], strict=True):
            self.check(decoder, one, data)
        monkeypatch.undo()
        if decoder.name.startswith("DALI cpu"):  # what nvJPEG makes of it is its own affair
            self.check(decoder, done[1], cut)
            assert decoder.counts["CPU: refused by DALI cpu"] == 2  # the third is unreadable
        again = decoder.decode_many(files)
        for one, data in zip(again, files, strict=True):
            self.check(decoder, one, data)
        own = decoder.name  # a pipeline that died was built again
        assert [one.path for one in again] == [own, "CPU: no end marker", own, own]


class TestCpu(DecoderTests):
    make = staticmethod(lambda: CpuDecoder(threads=2))


@needs_dali
class TestDaliCpu(DecoderTests):
    make = staticmethod(lambda: DaliDecoder("cpu", threads=2, batch=16))


@needs_dali
class TestDaliCpuByMarkers(DecoderTests):
    exact = False
    make = staticmethod(lambda: DaliDecoder("cpu", threads=2, batch=16, exact=False))


@needs_dali
@pytest.mark.gpu
class TestDaliMixed(DecoderTests):
    holds = torch.Tensor
    make = staticmethod(lambda: DaliDecoder("mixed", threads=2, batch=16))


@pytest.mark.gpu
class TestNvjpeg(DecoderTests):
    holds = torch.Tensor
    make = staticmethod(lambda: NvjpegDecoder(threads=2, batch=16))


@pytest.mark.gpu
class TestNvjpegByMarkers(DecoderTests):
    exact, holds = False, torch.Tensor
    make = staticmethod(lambda: NvjpegDecoder(threads=2, batch=16, exact=False))


@needs_dali
def test_large_images_go_over_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(vetting, "BATCH_PIXELS", 2 * COLOUR[:, :, 0].size)
    decoder, sizes = DaliDecoder("cpu", threads=1), []
    plain = decoder._decode_batch
    monkeypatch.setattr(decoder, "_decode_batch", lambda f, c: sizes.append(len(f)) or plain(f, c))
    done = decoder.decode_many([QUICK["4:4:4"]] * 5)
    assert sizes == [2, 2, 1] and all(np.array_equal(one.pixels, done[0].pixels) for one in done)
    decoder.close()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a card")
@pytest.mark.parametrize(
    "make",
    [
        lambda: NvjpegDecoder(threads=1),
        pytest.param(lambda: DaliDecoder("mixed", threads=1), marks=needs_dali),
    ],
)
def test_without_a_card_there_is_one_clear_error(make):
    with pytest.raises(DataError, match="torch sees no CUDA device here") as error:
        make()
    assert "\n" not in str(error.value)


def test_without_dali_there_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nvidia.dali.pipeline", None)
    with pytest.raises(DataError, match="pip install nvidia-dali-cuda130") as error:
        DaliDecoder("cpu", threads=1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("settings", [{"device": "gpu"}, {"hw_load": 1.5}])
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValueError, match="not 'cpu' or 'mixed'"):
        DaliDecoder(threads=1, **settings)


class Broken(vetting.VettingDecoder):
    """A quick decoder that says something and decodes nothing."""

    name, said = "broken", ""

    def _decode_batch(self, files, channels):
        raise RuntimeError(self.said)


def test_a_card_that_fails_is_no_reason_to_go_on_without_it():
    decoder = Broken(threads=1, batch=4, exact=False)
    (one,) = decoder.decode_many([QUICK["gray"]])
    assert one.path == "CPU: refused by broken" and np.array_equal(one.pixels, truth(QUICK["gray"]))
    decoder.said = "CUDA out of memory"
    with pytest.raises(MemoryError):
        decoder.decode_many([QUICK["gray"]])
    decoder.close()


def test_the_machines_faults_are_told_from_a_files():
    with pytest.raises(MemoryError):
        vetting.check_machine(RuntimeError("CUDA out of memory. Tried to allocate 9 GiB"))
    with pytest.raises(RuntimeError, match="illegal"):
        vetting.check_machine(RuntimeError("CUDA error: an illegal memory access"))
    vetting.check_machine(RuntimeError("nvImageCodec failure: '#3'"))


def test_the_choice_says_why(monkeypatch):
    sample = [QUICK["gray"]] * LEAST
    decoder, why = choose_decoder("cpu", sample, threads=1)
    assert decoder.name == "CPU" and "host memory" in why
    decoder.close()
    decoder, why = choose_decoder("cuda", sample[:9], threads=1)
    assert decoder.name == "CPU" and "9 files are too few" in why
    decoder.close()
    decoder, why = choose_decoder("cuda", sample, threads=1)
    assert f"decodes {LEAST} of these files fastest" in why and "CPU" in why
    assert torch.cuda.is_available() or "torch sees no CUDA device here" in why
    assert not decoder.counts
    decoder.close()
    with pytest.raises(ValueError, match="'cpu' or 'cuda'"):
        choose_decoder("mps", threads=1)
