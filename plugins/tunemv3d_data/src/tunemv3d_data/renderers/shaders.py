"""The ``moderngl`` renderer's two programs: surfaces into samples, then samples into pixels (GLSL 3.30)."""

LIGHTS = 16
"""Directions that one light may have."""

SURFACE_VERTEX = """
#version 330
uniform mat4 projection;
in vec3 in_position;
in vec3 in_normal;
in vec2 in_uv;
in ivec4 in_look;
in ivec4 in_kind;
in vec4 in_colour;
out vec3 corner_normal;
out vec2 uv;
out vec4 factors;
flat out ivec4 look;
flat out ivec4 kind;

void main() {
    factors = in_colour;
    kind = in_kind;
    corner_normal = in_normal;
    uv = in_uv;
    look = in_look;
    gl_Position = projection * vec4(in_position, 1.0);
}
"""

SURFACE_FRAGMENT = """
#version 330
uniform float darkest;
uniform bool coloured;
uniform sampler2D texels;
in vec3 corner_normal;
in vec2 uv;
in vec4 factors;
flat in ivec4 look;  // where the texture begins, its height and width, the material
flat in ivec4 kind;  // how it goes on along v and along u (0 repeats, 1 stops, 2 mirrors), smooth, double-sided
layout(location = 0) out vec4 albedo;
layout(location = 1) out vec4 normal_and_depth;
layout(location = 2) out float material;

vec4 texel(int row, int column) {
    int place = look.x + row * look.z + column;
    int across = textureSize(texels, 0).x;
    return texelFetch(texels, ivec2(place % across, place / across), 0);
}

float folded(float place, int wrap) {
    return wrap == 0 ? fract(place) : wrap == 1 ? clamp(place, 0.0, 1.0) : place - 2.0 * floor(place / 2.0);
}

int wrapped(int index, int size, int wrap) {
    if (wrap == 1) return clamp(index, 0, size - 1);
    int back = (index + 4 * size) % (2 * size);
    return wrap == 0 ? back % size : min(back, 2 * size - 1 - back);
}

vec4 bilinear() {
    int h = look.y, w = look.z;
    vec2 place = vec2(folded(uv.x, kind.y) * w, (1.0 - folded(uv.y, kind.x)) * h) - 0.5;
    ivec2 low = ivec2(floor(place));
    vec2 part = kind.z == 1 ? place - vec2(low) : step(0.5, place - vec2(low));
    int left = wrapped(low.x, w, kind.y), right = wrapped(low.x + 1, w, kind.y);
    int top = wrapped(low.y, h, kind.x), bottom = wrapped(low.y + 1, h, kind.x);
    vec4 above = mix(texel(top, left), texel(top, right), part.x);
    vec4 below = mix(texel(bottom, left), texel(bottom, right), part.x);
    return mix(above, below, part.y);
}

vec3 multiplied(vec3 colour, vec3 factor) {
    vec3 linear = mix(pow((colour + 0.055) / 1.055, vec3(2.4)), colour / 12.92, lessThanEqual(colour, vec3(0.04045)));
    linear = clamp(linear * factor, 0.0, 1.0);
    return mix(1.055 * pow(linear, vec3(1.0 / 2.4)) - 0.055, linear * 12.92, lessThanEqual(linear, vec3(0.0031308)));
}

void main() {
    if (kind.w == 0 && gl_FrontFacing) discard;
    vec4 colour = look.y * look.z == 1 ? texel(0, 0) : bilinear();
    if (coloured) colour = vec4(multiplied(colour.rgb, factors.rgb), colour.a * factors.a);
    if (colour.a * 255.0 <= 127.0) discard;
    vec3 normal = corner_normal / max(length(corner_normal), 1e-12);
    if (gl_FrontFacing) normal = -normal;  // the picture is drawn upside down: clockwise is counter-clockwise
    albedo = vec4(mix(vec3(darkest), vec3(1.0), colour.rgb), 1.0);
    normal_and_depth = vec4(normal, 1.0 / gl_FragCoord.w);
    material = float(look.w + 1);
}
"""

PIXEL_VERTEX = """
#version 330
void main() {
    gl_Position = vec4(vec2[](vec2(-1, -1), vec2(3, -1), vec2(-1, 3))[gl_VertexID], 0.0, 1.0);
}
"""

PIXEL_FRAGMENT = f"""
#version 330
uniform int samples;
uniform float brightest;
uniform float ambient;
uniform float sky;
uniform int directions;
uniform vec4 lights[{LIGHTS}];  // unit direction, strength
uniform sampler2D sample_albedo;
uniform sampler2D sample_normal_and_depth;
uniform sampler2D sample_material;
layout(location = 0) out vec4 rgba;
layout(location = 1) out vec4 albedo;
layout(location = 2) out vec4 normal_and_depth;
layout(location = 3) out float material;

float brightness(vec3 normal) {{
    float sum = ambient + sky * normal.z;
    for (int i = 0; i < directions; i++) sum += lights[i].w * max(dot(normal, lights[i].xyz), 0.0);
    return sum;
}}

void main() {{
    ivec2 first = ivec2(gl_FragCoord.xy) * samples;
    ivec2 front = first;
    float nearest = 1e30;
    for (int i = 0; i < samples * samples; i++) {{
        ivec2 place = first + ivec2(i % samples, i / samples);
        float z = texelFetch(sample_normal_and_depth, place, 0).w;
        if (z > 0.0 && z < nearest) {{
            nearest = z;
            front = place;
        }}
    }}
    vec3 lit = vec3(0.0), colour = vec3(0.0), normal = vec3(0.0);
    float covered = 0.0, depth = 0.0, fronts = 0.0;
    int end = nearest == 1e30 ? 0 : samples * samples;
    for (int i = 0; i < end; i++) {{
        ivec2 place = first + ivec2(i % samples, i / samples);
        vec4 surface = texelFetch(sample_normal_and_depth, place, 0);
        vec3 paint = texelFetch(sample_albedo, place, 0).rgb;
        float is_covered = surface.w > 0.0 ? 1.0 : 0.0;
        float is_front = surface.w <= nearest * 1.02 ? is_covered : 0.0;
        covered += is_covered;
        colour += is_covered * paint;
        lit += is_covered * paint * brightness(surface.xyz);
        fronts += is_front;
        normal += is_front * surface.xyz;
        depth += is_front * surface.w;
    }}
    material = texelFetch(sample_material, front, 0).r;
    float some = max(covered, 1.0);
    // Half covered is 127.5 of 255, which drivers round either way.
    float alpha = floor(covered * 255.0 / float(samples * samples) + 0.5) / 255.0;
    rgba = vec4(min(lit / some, vec3(brightest)), alpha);
    albedo = vec4(colour / some, 1.0);
    normal_and_depth = vec4(normal / max(length(normal), 1e-12), depth / max(fronts, 1.0));
}}
"""
