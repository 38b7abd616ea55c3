// The way into a codec and out again. Evaluated before any codec is, so that what a codec does to JSON or Date stays on its
// side. Everything, also what turns an error into text, runs within one call and so under the engine's limits.
//
// An answer is the JSON of what the codec returned, or "!" and an error, or "?" and what is wrong with the output: a codec's
// JSON starts with neither sign. (Prefixing a long output would make it a "rope", which quickjs-ng 0.17 cannot hand over.)
(() => {
  "use strict";
  const { parse, stringify } = JSON;
  const Time = Date, text = String;
  const slice = Function.prototype.call.bind(String.prototype.slice);

  // With no memory left for an Error object QuickJS throws null, as a codec would hardly do by itself.
  const said = (error) => (error === null ? "!out of memory (null was thrown)" : "!" + slice(text(error), 0, 300));

  const written = (output, cap) => {
    const json = stringify(output);
    if (typeof json !== "string") return "?codec returned nothing";
    if (json.length > cap) return "?output of " + json.length + " characters, the limit is " + cap;
    return json;
  };

  const missing = (name) => "!codec has no function " + name;

  return (kind, codec) => {
    // Bytes come as arguments: a rest parameter is the cheapest array there is. `codec()` gives decodeUplink.
    if (kind === "uplink") {
      return (fPort, at, cap, variables, ...bytes) => {
        try {
          const decode = codec();
          if (decode === undefined) return missing("decodeUplink");
          const known = variables === "" ? {} : parse(variables);
          return written(decode({ bytes, fPort, recvTime: new Time(at), variables: known }), cap);
        } catch (error) {
          return said(error);
        }
      };
    }
    if (kind === "decoder") return () => codec.decodeUplink;
    // `codec` holds functions by name; the input is JSON text.
    return (name, json, cap, dated) => {
      try {
        const call = codec[name];
        if (call === undefined) return missing(name);
        const input = parse(json);
        if (dated && input !== null && typeof input === "object" && input.recvTime !== undefined) {
          input.recvTime = new Time(input.recvTime);
        }
        return written(call(input), cap);
      } catch (error) {
        return said(error);
      }
    };
  };
})();
