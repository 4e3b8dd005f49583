/* Turns the picture of an object into the object: drag or arrow keys turn it, wheel or two fingers bring it nearer.
   Draws a textured mesh, or a cloud of Gaussians sorted by depth, with WebGL 2. Where that is missing, or anything
   fails, the still picture underneath stays. */
(function () {
  "use strict";
  const NEAR = 0.05, FAR = 50, STEEPEST = 89.5;

  document.querySelectorAll(".stage").forEach(function (stage) {
    const canvas = stage.querySelector("canvas");
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: true, preserveDrawingBuffer: true });
    if (!gl) return;
    const about = JSON.parse(canvas.dataset.about);
    const start = { elevation: about.elevation, azimuth: about.azimuth, distance: about.distance };
    const state = Object.assign({ lit: false, waiting: false }, start);
    let draw = null;

    function redraw() {
      if (state.waiting || !draw) return;
      state.waiting = true;
      requestAnimationFrame(function () {
        state.waiting = false;
        fit(canvas);
        gl.viewport(0, 0, canvas.width, canvas.height);
        gl.clearColor(1, 1, 1, 1);
        gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
        draw(look(state, about.fovy, canvas.width / canvas.height), state);
        stage.classList.add("live");
      });
    }

    canvas.addEventListener("webglcontextlost", function () { stage.classList.remove("live"); draw = null; });
    control(canvas, state, start, redraw);
    const light = stage.parentNode.querySelector(".light");
    if (light) light.addEventListener("change", function () { state.lit = light.checked; redraw(); });
    new ResizeObserver(redraw).observe(canvas);

    const ready = function (function_) { draw = function_; redraw(); };
    try {
      if (about.kind === "mesh") mesh(gl, canvas.dataset, ready);
      else splats(gl, canvas, about, ready);
    } catch (error) { console.warn("the still picture stays: " + error.message); }
  });

  // --- camera ------------------------------------------------------------------------------------------------------

  function fit(canvas) {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  }

  /* View and projection, column by column, of a camera on a sphere around the origin; negative elevation is above. */
  function look(state, fovy, aspect) {
    const rise = state.elevation * Math.PI / 180, turn = state.azimuth * Math.PI / 180;
    const back = [Math.cos(rise) * Math.sin(turn), -Math.sin(rise), Math.cos(rise) * Math.cos(turn)];
    const right = [Math.cos(turn), 0, -Math.sin(turn)];
    const up = [back[1] * right[2] - back[2] * right[1], back[2] * right[0] - back[0] * right[2],
                back[0] * right[1] - back[1] * right[0]];
    const view = new Float32Array([right[0], up[0], back[0], 0, right[1], up[1], back[1], 0,
                                   right[2], up[2], back[2], 0, 0, 0, -state.distance, 1]);
    const scale = 1 / Math.tan(fovy * Math.PI / 360);
    const projection = new Float32Array([scale / aspect, 0, 0, 0, 0, scale, 0, 0,
      0, 0, (FAR + NEAR) / (NEAR - FAR), -1, 0, 0, 2 * FAR * NEAR / (NEAR - FAR), 0]);
    return { view: view, projection: projection, back: back, scale: scale };
  }

  function control(canvas, state, start, redraw) {
    const fingers = new Map();
    const spread = function () {
      const at = Array.from(fingers.values());
      return at.length < 2 ? 0 : Math.hypot(at[0].x - at[1].x, at[0].y - at[1].y);
    };
    const turn = function (azimuth, elevation) {
      state.azimuth += azimuth;
      state.elevation = Math.max(-STEEPEST, Math.min(STEEPEST, state.elevation + elevation));
      redraw();
    };
    const approach = function (factor) {
      state.distance = Math.max(start.distance / 8, Math.min(start.distance * 4, state.distance * factor));
      redraw();
    };
    canvas.addEventListener("pointerdown", function (event) {
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    });
    canvas.addEventListener("pointermove", function (event) {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const apart = spread();
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (fingers.size > 1) { if (apart) approach(apart / Math.max(spread(), 1)); return; }
      const degrees = 180 / Math.max(canvas.clientWidth, 1);
      turn(-(event.clientX - before.x) * degrees, -(event.clientY - before.y) * degrees);
    });
    ["pointerup", "pointercancel"].forEach(function (name) {
      canvas.addEventListener(name, function (event) { fingers.delete(event.pointerId); });
    });
    canvas.addEventListener("wheel", function (event) {
      event.preventDefault();
      approach(Math.exp(Math.max(-100, Math.min(100, event.deltaY)) * 0.002));
    }, { passive: false });
    canvas.addEventListener("dblclick", function () { Object.assign(state, start); redraw(); });
    canvas.addEventListener("keydown", function (event) {
      const step = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }[event.key];
      if (step) turn(step[0], step[1]);
      else if (event.key === "+" || event.key === "=") approach(0.9);
      else if (event.key === "-") approach(1 / 0.9);
      else return;
      event.preventDefault();
    });
  }

  // --- shared ------------------------------------------------------------------------------------------------------

  function bytes(text) {
    const raw = atob(text), found = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) found[i] = raw.charCodeAt(i);
    return found.buffer;
  }

  function program(gl, vertex, fragment) {
    const made = gl.createProgram();
    [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]].forEach(function (part) {
      const shader = gl.createShader(part[0]);
      gl.shaderSource(shader, "#version 300 es\nprecision highp float;\nprecision highp int;\n" + part[1]);
      gl.compileShader(shader);
      gl.attachShader(made, shader);
    });
    gl.linkProgram(made);
    if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made) || "no program");
    gl.useProgram(made);
    return made;
  }

  function attribute(gl, made, name, data, width) {
    const place = gl.getAttribLocation(made, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    if (place < 0) return;
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, width, gl.FLOAT, false, 0, 0);
  }

  // --- textured mesh -----------------------------------------------------------------------------------------------

  function mesh(gl, data, ready) {
    const made = program(gl, [
      "in vec3 position; in vec3 normal; in vec2 place;",
      "uniform mat4 view, projection;",
      "out vec3 side; out vec2 at;",
      "void main() { side = mat3(view) * normal; at = place; gl_Position = projection * view * vec4(position, 1.0); }"
    ].join("\n"), [
      "in vec3 side; in vec2 at; uniform sampler2D albedo; uniform bool lit; out vec4 colour;",
      "void main() {",
      "  float light = 0.25 + 0.75 * abs(normalize(side).z);",
      "  colour = vec4(lit ? vec3(light) : texture(albedo, at).rgb, 1.0);",
      "}"
    ].join("\n"));
    attribute(gl, made, "position", bytes(data.positions), 3);
    attribute(gl, made, "normal", bytes(data.normals), 3);
    attribute(gl, made, "place", bytes(data.places), 2);
    const faces = new Uint32Array(bytes(data.faces));
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, faces, gl.STATIC_DRAW);
    const where = {};
    ["view", "projection", "lit"].forEach(function (name) { where[name] = gl.getUniformLocation(made, name); });
    gl.enable(gl.DEPTH_TEST);
    const image = new Image();
    image.onload = function () {
      gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
      gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, true);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
      gl.generateMipmap(gl.TEXTURE_2D);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
      ready(function (camera, state) {
        gl.uniformMatrix4fv(where.view, false, camera.view);
        gl.uniformMatrix4fv(where.projection, false, camera.projection);
        gl.uniform1i(where.lit, state.lit ? 1 : 0);
        gl.drawElements(gl.TRIANGLES, faces.length, gl.UNSIGNED_INT, 0);
      });
    };
    image.src = data.albedo;
  }

  // --- Gaussians ---------------------------------------------------------------------------------------------------

  /* Each Gaussian is two texels of four 32-bit numbers: mean and colour; six half-precision entries of its covariance.
     A quad covers its ellipse on the screen; quads are drawn from the farthest to the nearest. */
  function splats(gl, canvas, about, ready) {
    const made = program(gl, [
      "in vec2 corner; in uint index;",
      "uniform highp usampler2D gaussians; uniform mat4 view, projection; uniform vec2 pixels; uniform float focal;",
      "out vec2 at; out vec4 shade;",
      "void main() {",
      "  ivec2 texel = ivec2((int(index) & 1023) * 2, int(index) >> 10);",
      "  uvec4 first = texelFetch(gaussians, texel, 0), second = texelFetch(gaussians, texel + ivec2(1, 0), 0);",
      "  vec3 p = (view * vec4(uintBitsToFloat(first.xyz), 1.0)).xyz;",
      "  gl_Position = vec4(0.0, 0.0, 2.0, 1.0);",
      "  if (p.z > -" + NEAR.toFixed(3) + ") return;",
      "  vec2 a = unpackHalf2x16(second.x), b = unpackHalf2x16(second.y), c = unpackHalf2x16(second.z);",
      "  mat3 sigma = mat3(a.x, a.y, b.x, a.y, b.y, c.x, b.x, c.x, c.y) / " + about.gain.toFixed(1) + ";",
      "  float nearness = -1.0 / p.z;",
      "  mat3 slope = mat3(nearness, 0.0, 0.0, 0.0, nearness, 0.0,",
      "                    p.x * nearness * nearness, p.y * nearness * nearness, 0.0);",
      "  mat3 to_screen = focal * slope * mat3(view);",
      "  mat3 flat_sigma = to_screen * sigma * transpose(to_screen);",
      "  float xx = flat_sigma[0][0] + 0.3, xy = flat_sigma[0][1], yy = flat_sigma[1][1] + 0.3;",
      "  float middle = 0.5 * (xx + yy), away = length(vec2(0.5 * (xx - yy), xy));",
      "  vec2 spread = sqrt(max(vec2(middle + away, middle - away), 0.01));",
      "  vec2 axis = abs(xy) < 1e-6 ? (xx >= yy ? vec2(1.0, 0.0) : vec2(0.0, 1.0)) :",
      "    normalize(vec2(xy, middle + away - xx));",
      "  shade = vec4(uvec4(first.w, first.w >> 8, first.w >> 16, first.w >> 24) & 255u) / 255.0;",
      "  if (shade.a < 1.0 / 255.0) return;",
      "  at = corner * sqrt(2.0 * log(255.0 * shade.a));",
      "  vec2 moved = spread.x * at.x * axis + spread.y * at.y * vec2(-axis.y, axis.x);",
      "  vec4 centre = projection * vec4(p, 1.0);",
      "  gl_Position = vec4(centre.xy / centre.w + 2.0 * moved / pixels, 0.0, 1.0);",
      "}"
    ].join("\n"), [
      "in vec2 at; in vec4 shade; out vec4 colour;",
      "void main() {",
      "  float alpha = min(0.99, shade.a * exp(-0.5 * dot(at, at)));",
      "  if (alpha < 1.0 / 255.0) discard;",
      "  colour = vec4(shade.rgb * alpha, alpha);",
      "}"
    ].join("\n"));
    const packed = new Uint32Array(bytes(canvas.dataset.gaussians));
    const means = new Float32Array(packed.buffer);
    const rows = packed.length / (2048 * 4);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32UI, 2048, rows, 0, gl.RGBA_INTEGER, gl.UNSIGNED_INT, packed);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    attribute(gl, made, "corner", new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), 2);
    const index = gl.getAttribLocation(made, "index");
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.enableVertexAttribArray(index);
    gl.vertexAttribIPointer(index, 1, gl.UNSIGNED_INT, 0, 0);
    gl.vertexAttribDivisor(index, 1);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    const where = {};
    ["view", "projection", "pixels", "focal"].forEach(function (name) {
      where[name] = gl.getUniformLocation(made, name);
    });
    const sorted = sorter(means, about.count);
    ready(function (camera) {
      gl.bufferData(gl.ARRAY_BUFFER, sorted(camera.back), gl.DYNAMIC_DRAW);
      gl.uniformMatrix4fv(where.view, false, camera.view);
      gl.uniformMatrix4fv(where.projection, false, camera.projection);
      gl.uniform2f(where.pixels, canvas.width, canvas.height);
      gl.uniform1f(where.focal, camera.scale * canvas.height / 2);
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, about.count);
    });
  }

  /* A counting sort over 2^16 steps of depth; `back` points towards the camera, so that small is far. */
  function sorter(means, count) {
    const depth = new Float32Array(count), order = new Uint32Array(count), step = new Uint32Array(count);
    const places = new Uint32Array(65537);
    return function (back) {
      let low = Infinity, high = -Infinity;
      for (let i = 0; i < count; i++) {
        const d = means[8 * i] * back[0] + means[8 * i + 1] * back[1] + means[8 * i + 2] * back[2];
        depth[i] = d;
        if (d < low) low = d;
        if (d > high) high = d;
      }
      places.fill(0);
      const scale = 65535 / Math.max(high - low, 1e-9);
      for (let i = 0; i < count; i++) { step[i] = (depth[i] - low) * scale; places[step[i] + 1]++; }
      for (let k = 0; k < 65536; k++) places[k + 1] += places[k];
      for (let i = 0; i < count; i++) order[places[step[i]]++] = i;
      return order;
    };
  }
})();
