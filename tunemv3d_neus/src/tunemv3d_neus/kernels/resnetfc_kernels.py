# mypy: disable-error-code="no-untyped-def,untyped-decorator"
"""The field's ResNetFC as three Triton kernels: forward, gradients of activations, gradients of weights.

One program takes a tile of points of one object through the whole network, so that no activation passes through memory
on the way forward. Matrix products take operands in the weights' dtype and add up in float32. Softplus is a polynomial
in ``exp(-beta |x|)``: a logarithm would cost more than the products.

The backward pass runs ``forward`` again with ``KEEP``, which writes the activations of a chunk of points,
``activation_gradients``, which writes the gradients that belong to them, and ``weight_gradients``, which multiplies the
two. Nothing is added atomically. Tiles whose points all lie outside the object's sphere, or get no gradient, are
skipped.

Axis letters: ``m`` points of a tile, ``h`` hidden, ``a`` aggregated channels but the last (the share of views, which is
handled apart so that ``a`` fills a power of two), ``o`` outputs: the distance and the values.
"""

import triton
import triton.language as tl

EXPONENT = tl.constexpr(-144.26950408889634)
"""Minus softplus's beta = 100, for exponentials to the base of 2."""


@triton.jit
def softplus(x):
    """``log(1 + exp(100 x)) / 100``: log(1 + e) / 100 on [0, 1] is a polynomial of degree 6, to 1.5e-8."""
    e = tl.exp2(tl.abs(x) * EXPONENT)
    p = 8.5569736e-4 - 1.83387991e-4 * e
    p = -1.9376073e-3 + p * e
    p = 3.17648948e-3 + p * e
    p = -4.9787505e-3 + p * e
    p = 9.99901643e-3 + p * e
    return tl.maximum(x, 0.0) + p * e


@triton.jit
def softplus_slope(y):
    """Softplus's derivative from its value ``y``: ``1 - exp(-100 y)``."""
    return 1.0 - tl.exp2(y.to(tl.float32) * EXPONENT)


@triton.jit
def sine_of_turns(u):
    """``sin(2 pi u)`` by a polynomial on a quarter turn, to 4e-9 beside the rounding of ``u``."""
    u -= tl.floor(u + 0.5)
    y = tl.minimum(tl.abs(u), 0.5 - tl.abs(u))
    y2 = y * y
    p = 39.5367074 * y2 - 76.5497825
    p = p * y2 + 81.6010041
    p = p * y2 - 41.3416550
    p = (p * y2 + 6.28318516) * y
    return tl.where(u < 0, -p, p)


@triton.jit
def encode(px, py, pz, dx, dy, dz, columns, turns, FREQUENCIES: tl.constexpr):
    """Encode points as ``encode_points`` does after their coordinates, ``m columns``; directions in the last three.

    ``turns`` is the lowest frequency in turns per world unit.
    """
    first_direction: tl.constexpr = 3 + 6 * FREQUENCIES
    wave = columns - 3
    is_wave = (columns >= 3) & (columns < first_direction)
    axis = tl.where(is_wave, wave % 3, tl.where(columns < 3, columns, columns - first_direction))[None, :]
    point = tl.where(axis == 0, px[:, None], tl.where(axis == 1, py[:, None], pz[:, None]))
    direction = tl.where(axis == 0, dx[:, None], tl.where(axis == 1, dy[:, None], dz[:, None]))
    scale = turns * tl.exp2(tl.where(is_wave, wave // 6, 0).to(tl.float32))
    quarter = tl.where(wave % 6 < 3, 0.0, 0.25)  # a cosine is a quarter turn ahead
    waves = sine_of_turns(point * scale[None, :] + quarter[None, :])
    encoded = tl.where(is_wave[None, :], waves, tl.where((columns < 3)[None, :], point, direction))
    return tl.where((columns < first_direction + 3)[None, :], encoded, 0.0)


@triton.jit
def product(x, weight, columns, rows, stride, PRECISION: tl.constexpr):
    """``x @ weight.T`` of a tile ``m columns`` and a matrix with rows of ``stride``, float32."""
    transposed = tl.load(weight + columns[:, None] + rows[None, :] * stride)
    return tl.dot(x, transposed, input_precision=PRECISION)


@triton.jit
def forward(
    points, directions, aggregated, g_out,
    w_in, bias_x, w_latent, w_share, w0, bias_y, w1, w_distance, w_distance_agg, w_value, b_value,
    w_direction, w_out, w_agg, w_agg_share,
    sdf, values, inputs, activations, value_activations, flags,
    p, start, chunk, rays, samples, turns, initial_radius, radius, plane,
    BLOCKS: tl.constexpr, LATENT_BLOCKS: tl.constexpr, FREQUENCIES: tl.constexpr, VALUES: tl.constexpr,
    AGGREGATED: tl.constexpr, H: tl.constexpr, E: tl.constexpr, A: tl.constexpr, INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr, M: tl.constexpr, PRECISION: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Write distances and values of a tile; with ``KEEP``, the activations of a tile that gets a gradient instead."""
    tile, b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    kept = tile * M + tl.arange(0, M)
    row = start + kept
    inside = (kept < chunk) & (row < p)
    mask = inside[:, None]
    h, e, a, o, v = tl.arange(0, H), tl.arange(0, E), tl.arange(0, A), tl.arange(0, OUTPUTS), tl.arange(0, H // 2)
    dtype = w0.dtype.element_ty
    points += b * p * 3
    px = tl.load(points + row * 3 + 0, mask=inside, other=0.0)
    py = tl.load(points + row * 3 + 1, mask=inside, other=0.0)
    pz = tl.load(points + row * 3 + 2, mask=inside, other=0.0)
    squared = px * px + py * py + pz * pz
    sphere = tl.sqrt(squared) - initial_radius
    sdf += b * p
    values += b * p * VALUES
    value_at = row[:, None] * VALUES + o[None, :] - 1
    is_value = mask & (o >= 1)[None, :] & (o <= VALUES)[None, :]

    needed = inside & (squared <= radius * radius)
    if KEEP:
        gradient = tl.load(
            g_out + b * chunk * OUTPUTS + kept[:, None] * OUTPUTS + o[None, :], mask=needed[:, None], other=0.0
        )
        needed = needed & (tl.max(tl.abs(gradient), 1) > 0)
    count = tl.sum(needed.to(tl.int32), 0)
    if KEEP:
        # A last chunk may reach beyond the points: what is kept is finite there, and its gradients are zero.
        in_chunk = (kept < chunk)[:, None]
        activations += b * chunk * H
        at_h = kept[:, None] * H + h[None, :]
        inputs += b * chunk * INPUTS + kept[:, None] * INPUTS
        value_activations += b * chunk * (H // 2) + kept[:, None] * (H // 2)
        tl.store(flags + b * tl.num_programs(0) + tile, count)
    if count == 0:
        if KEEP:
            for k in range(2 * BLOCKS + 1):
                tl.store(activations + k * plane + at_h, tl.zeros((M, H), dtype), mask=in_chunk)
        else:
            tl.store(sdf + row, sphere, mask=inside)
            if VALUES > 0:
                tl.store(values + value_at, tl.zeros((M, OUTPUTS), tl.float32), mask=is_value)
        return

    directions += b * rays * 3
    ray = row // samples
    has_ray = inside & (ray < rays)
    dx = tl.load(directions + ray * 3 + 0, mask=has_ray, other=0.0)
    dy = tl.load(directions + ray * 3 + 1, mask=has_ray, other=0.0)
    dz = tl.load(directions + ray * 3 + 2, mask=has_ray, other=0.0)
    code = encode(px, py, pz, dx, dy, dz, e, turns, FREQUENCIES).to(dtype)
    aggregated += b * p * AGGREGATED
    at_a = row[:, None] * AGGREGATED + a[None, :]
    features = tl.load(aggregated + at_a, mask=mask & (a < AGGREGATED - 1)[None, :], other=0.0)
    share = tl.load(aggregated + row * AGGREGATED + AGGREGATED - 1, mask=inside, other=0.0)
    half = features.to(dtype)
    if not KEEP:
        # Before the blocks, so that fewer values are alive within them.
        distance = sphere + tl.sum(features * tl.load(w_distance_agg + a)[None, :], 1) + share * tl.load(w_agg_share)
        if VALUES > 0:
            result = product(half, w_agg, a, o, A, PRECISION) + share[:, None] * tl.load(w_agg_share + o)[None, :]
    if KEEP:
        tl.store(inputs + a[None, :], half, mask=in_chunk)
        # The last column of the encoding's power of two is free.
        with_share = tl.where((e == E - 1)[None, :], share[:, None].to(dtype), code)
        tl.store(inputs + A + e[None, :], with_share, mask=in_chunk)

    x = product(code, w_in, e, h, E, PRECISION)
    for k in range(BLOCKS):
        x += tl.load(bias_x + k * H + h)[None, :]
        if k < LATENT_BLOCKS:
            x += product(half, w_latent + k * H * A, a, h, A, PRECISION)
            x += share[:, None] * tl.load(w_share + k * H + h)[None, :]
        outer = softplus(x).to(dtype)
        y = product(outer, w0 + k * H * H, h, h, H, PRECISION)
        inner = softplus(y + tl.load(bias_y + (b * BLOCKS + k) * H + h)[None, :]).to(dtype)
        if KEEP:
            tl.store(activations + k * plane + at_h, inner, mask=in_chunk)
            tl.store(activations + (BLOCKS + k) * plane + at_h, outer, mask=in_chunk)
        x += product(inner, w1 + k * H * H, h, h, H, PRECISION)
    hidden = softplus(x + tl.load(bias_x + BLOCKS * H + h)[None, :]).to(dtype)
    if KEEP:
        tl.store(activations + 2 * BLOCKS * plane + at_h, hidden, mask=in_chunk)
    else:
        distance += tl.sum(hidden.to(tl.float32) * tl.load(w_distance + h)[None, :], 1)
        tl.store(sdf + row, distance, mask=inside)
    if VALUES > 0:
        head = product(hidden, w_value, h, v, H, PRECISION) + tl.load(b_value + v)[None, :]
        head += dx[:, None] * tl.load(w_direction + v)[None, :]
        head += dy[:, None] * tl.load(w_direction + H // 2 + v)[None, :]
        head += dz[:, None] * tl.load(w_direction + H + v)[None, :]
        head = softplus(head).to(dtype)
        if KEEP:
            tl.store(value_activations + v[None, :], head, mask=in_chunk)
        else:
            result += product(head, w_out, v, o, H // 2, PRECISION)
            tl.store(values + value_at, result, mask=is_value)


@triton.jit
def activation_gradients(
    g_out, w_latent, w_share, w0, w1, w_distance, w_value, w_out, w_agg, w_agg_share,
    activations, value_activations, flags, gradients, g_aggregated,
    p, start, chunk, plane,
    BLOCKS: tl.constexpr, LATENT_BLOCKS: tl.constexpr, VALUES: tl.constexpr, AGGREGATED: tl.constexpr,
    H: tl.constexpr, A: tl.constexpr, OUTPUTS: tl.constexpr, M: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the gradients of a tile's activations, from the last layer to the first, and of its aggregated features.

    Planes of ``gradients``: the residual stream before each block and after the last, the blocks' first layers, and the
    heads: the values' first layer, the distance, the values.
    """
    tile, b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    kept = tile * M + tl.arange(0, M)
    row = start + kept
    inside = (kept < chunk) & (row < p)
    mask = inside[:, None]
    h, a, o, v = tl.arange(0, H), tl.arange(0, A), tl.arange(0, OUTPUTS), tl.arange(0, H // 2)
    dtype = w0.dtype.element_ty
    g_aggregated += b * p * AGGREGATED
    at_a = row[:, None] * AGGREGATED + a[None, :]
    in_a = mask & (a < AGGREGATED - 1)[None, :]
    in_chunk = (kept < chunk)[:, None]
    activations += b * chunk * H
    gradients += b * chunk * H
    at_h = kept[:, None] * H + h[None, :]
    if tl.load(flags + b * tl.num_programs(0) + tile) == 0:
        tl.store(g_aggregated + at_a, tl.zeros((M, A), tl.float32), mask=in_a)
        tl.store(g_aggregated + row * AGGREGATED + AGGREGATED - 1, tl.zeros((M,), tl.float32), mask=inside)
        for k in range(2 * BLOCKS + 2):
            tl.store(gradients + k * plane + at_h, tl.zeros((M, H), dtype), mask=in_chunk)
        return

    g_out += b * chunk * OUTPUTS
    square = h[:, None] * H + h[None, :]
    out = tl.load(g_out + kept[:, None] * OUTPUTS + o[None, :], mask=mask, other=0.0)
    g_features = tl.dot(out.to(dtype), tl.load(w_agg + o[:, None] * A + a[None, :]), input_precision=PRECISION)
    g_share = tl.sum(out * tl.load(w_agg_share + o)[None, :], 1)
    g_x = tl.load(g_out + kept * OUTPUTS, mask=inside, other=0.0)[:, None] * tl.load(w_distance + h)[None, :]
    heads = gradients + (2 * BLOCKS + 1) * plane + kept[:, None] * H
    tl.store(heads + H // 2 + o[None, :], out.to(dtype), mask=in_chunk)
    if VALUES > 0:
        value_activations += b * chunk * (H // 2) + kept[:, None] * (H // 2)
        head = tl.load(value_activations + v[None, :], mask=mask, other=0.0)
        weight = tl.load(w_out + o[:, None] * (H // 2) + v[None, :])
        g_head = tl.dot(out.to(dtype), weight, input_precision=PRECISION) * softplus_slope(head)
        g_head = g_head.to(dtype)
        tl.store(heads + v[None, :], g_head, mask=in_chunk)
        g_x += tl.dot(g_head, tl.load(w_value + v[:, None] * H + h[None, :]), input_precision=PRECISION)
    g_x *= softplus_slope(tl.load(activations + 2 * BLOCKS * plane + at_h, mask=mask, other=0.0))
    for i in range(BLOCKS):
        k = BLOCKS - 1 - i
        g = g_x.to(dtype)
        tl.store(gradients + (k + 1) * plane + at_h, g, mask=in_chunk)
        inner = tl.load(activations + k * plane + at_h, mask=mask, other=0.0)
        g_y = tl.dot(g, tl.load(w1 + k * H * H + square), input_precision=PRECISION) * softplus_slope(inner)
        g_y = g_y.to(dtype)
        tl.store(gradients + (BLOCKS + 1 + k) * plane + at_h, g_y, mask=in_chunk)
        outer = tl.load(activations + (BLOCKS + k) * plane + at_h, mask=mask, other=0.0)
        g_x += tl.dot(g_y, tl.load(w0 + k * H * H + square), input_precision=PRECISION) * softplus_slope(outer)
        if k < LATENT_BLOCKS:
            latent = tl.load(w_latent + k * H * A + h[:, None] * A + a[None, :])
            g_features += tl.dot(g_x.to(dtype), latent, input_precision=PRECISION)
            g_share += tl.sum(g_x * tl.load(w_share + k * H + h)[None, :], 1)
    tl.store(gradients + at_h, g_x.to(dtype), mask=in_chunk)
    tl.store(g_aggregated + at_a, g_features, mask=in_a)
    tl.store(g_aggregated + row * AGGREGATED + AGGREGATED - 1, g_share, mask=inside)


@triton.jit
def weight_gradients(
    gradients, inputs, weight, bias,
    chunk, g_plane, input_plane,
    G: tl.constexpr, INPUTS: tl.constexpr, STEPS: tl.constexpr, M: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add gradients' products with a layer's inputs to ``weight`` and their sums to ``bias``.

    One program goes through every ``num_programs(1)``-th tile of one layer's points of one object, ``STEPS`` of them,
    and adds to its own part of the result: the caller sums the parts.
    """
    layer, split, b = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2).to(tl.int64)
    g, i, m = tl.arange(0, G), tl.arange(0, INPUTS), tl.arange(0, M)
    part = (b * tl.num_programs(1) + split) * tl.num_programs(0) + layer
    weight += part * G * INPUTS
    bias += part * G
    gradients += layer * g_plane + b * chunk * G
    inputs += layer * input_plane + b * chunk * INPUTS
    product_at = g[:, None] * INPUTS + i[None, :]
    total = tl.load(weight + product_at)
    total_bias = tl.load(bias + g)
    for step in range(STEPS):
        point = (split + step * tl.num_programs(1)) * M + m
        inside = (point < chunk)[:, None]
        gradient = tl.load(gradients + point[:, None] * G + g[None, :], mask=inside, other=0.0)
        taken = tl.load(inputs + point[:, None] * INPUTS + i[None, :], mask=inside, other=0.0)
        total += tl.dot(tl.trans(gradient), taken, input_precision=PRECISION)
        total_bias += tl.sum(gradient.to(tl.float32), 0)
    tl.store(weight + product_at, total)
    tl.store(bias + g, total_bias)
