//! permessage-deflate is agreed on as RFC 7692 sections 5 and 7.1 say, or not at all.

use evws_proto::deflate::{compressor_size, Agreement, Direction, Options};
use evws_proto::handshake::{
    accept_key, accept_offer, parse_request, parse_response, ClientRequest, HeadLimits, Malformed,
    UpgradeResponse, UpgradeResponseError,
};

const OPTIONS: Options = Options {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_max_window_bits: None,
    client_max_window_bits: None,
    threshold: 7,
    level: 5,
    memory: 0,
};

/// The text of the server's answer.
fn answer(offers: &str, options: &Options) -> Option<String> {
    let accepted = accept_offer(offers.as_bytes(), options).expect("well-formed");
    accepted.map(|negotiated| negotiated.text)
}

/// Window bits and whether there is context takeover: the client's, then the server's.
fn directions(agreement: &Agreement) -> [(u8, bool); 2] {
    let pair = |side: Direction| (side.window_bits, !side.no_context_takeover);
    [pair(agreement.client), pair(agreement.server)]
}

#[test]
fn a_server_answers_the_first_offer_that_it_can_accept() {
    let cases: [(&str, Option<&str>); 39] = [
        ("", None),
        (" , ,", None),
        ("permessage-deflate", Some("")),
        (",, permessage-deflate ,", Some("")),
        ("x-webkit-deflate-frame", None),
        ("Permessage-Deflate", None),
        ("permessage-bzip2; level=9, permessage-deflate", Some("")),
        ("foo; bar=\"abc\"; baz, permessage-deflate", Some("")),
        ("permessage-deflate; client_max_window_bits", Some("")),
        (
            "permessage-deflate; client_max_window_bits=15",
            Some("; client_max_window_bits=15"),
        ),
        (
            "permessage-deflate; client_max_window_bits=\"10\"",
            Some("; client_max_window_bits=10"),
        ),
        (
            "permessage-deflate; client_max_window_bits=\"\\1\\0\"",
            Some("; client_max_window_bits=10"),
        ),
        (
            "permessage-deflate; client_max_window_bits=8",
            Some("; client_max_window_bits=8"),
        ),
        (
            "permessage-deflate;server_max_window_bits=10",
            Some("; server_max_window_bits=10"),
        ),
        (
            "permessage-deflate;\tserver_max_window_bits = 15",
            Some("; server_max_window_bits=15"),
        ),
        (
            "permessage-deflate; server_no_context_takeover",
            Some("; server_no_context_takeover"),
        ),
        (
            "permessage-deflate; client_no_context_takeover",
            Some("; client_no_context_takeover"),
        ),
        (
            "permessage-deflate; client_max_window_bits=9; client_no_context_takeover; server_max_window_bits=11; \
             server_no_context_takeover",
            Some(
                "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=11; \
                 client_max_window_bits=9",
            ),
        ),
        // No zlib keeps to a window of 256 bytes.
        ("permessage-deflate; server_max_window_bits=8", None),
        (
            "permessage-deflate; server_max_window_bits=8, permessage-deflate",
            Some(""),
        ),
        (
            "permessage-deflate; server_max_window_bits=12, permessage-deflate; server_max_window_bits=11",
            Some("; server_max_window_bits=12"),
        ),
        // Unknown, repeated, and with values that cannot be: the next offer counts.
        ("permessage-deflate; mode=fast", None),
        (
            "permessage-deflate; mode=fast, permessage-deflate; server_no_context_takeover",
            Some("; server_no_context_takeover"),
        ),
        (
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            None,
        ),
        (
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
            None,
        ),
        (
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
            None,
        ),
        ("permessage-deflate; server_no_context_takeover=1", None),
        ("permessage-deflate; client_no_context_takeover=true", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; server_max_window_bits=7", None),
        ("permessage-deflate; server_max_window_bits=0", None),
        ("permessage-deflate; server_max_window_bits=010", None),
        ("permessage-deflate; server_max_window_bits=08", None),
        ("permessage-deflate; server_max_window_bits=+10", None),
        ("permessage-deflate; client_max_window_bits=1e1", None),
        ("permessage-deflate; client_max_window_bits=256", None),
        ("permessage-deflate; client_max_window_bits=10x", None),
        (
            "permessage-deflate; client_max_window_bits=99, permessage-deflate",
            Some(""),
        ),
    ];
    for (offers, expected) in cases {
        let expected = expected.map(|parameters| format!("permessage-deflate{parameters}"));
        assert_eq!(answer(offers, &OPTIONS), expected, "{offers}");
    }
}

#[test]
fn what_breaks_the_grammar_breaks_the_handshake() {
    for malformed in [
        ";",
        "permessage-deflate;",
        "permessage-deflate; ;",
        "permessage-deflate; =10",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=\"10",
        "permessage-deflate; server_max_window_bits=\"10\\",
        "permessage-deflate; server_max_window_bits=\"\"",
        "permessage-deflate; server_max_window_bits=\"1 0\"",
        "permessage-deflate; server_max_window_bits=10 11",
        "permessage-deflate server_no_context_takeover",
        "permessage-deflate, x y",
        "foo; bar=\"a,b;c\", permessage-deflate",
        "\"permessage-deflate\"",
        "permessage/deflate",
        "permessage-deflate; b\u{e4}r",
    ] {
        assert_eq!(
            accept_offer(malformed.as_bytes(), &OPTIONS),
            Err(Malformed),
            "{malformed}"
        );
    }
}

#[test]
fn a_servers_options_limit_both_directions() {
    let bits = |server, client| Options {
        server_max_window_bits: server,
        client_max_window_bits: client,
        ..OPTIONS
    };
    let known = "permessage-deflate; client_max_window_bits";
    for (options, offer, expected) in [
        (
            bits(Some(10), None),
            known,
            Some("; server_max_window_bits=10"),
        ),
        (bits(Some(15), None), known, Some("")),
        (
            bits(Some(10), None),
            "permessage-deflate; server_max_window_bits=9",
            Some("; server_max_window_bits=9"),
        ),
        (
            bits(Some(10), None),
            "permessage-deflate; server_max_window_bits=12",
            Some("; server_max_window_bits=10"),
        ),
        (
            bits(None, Some(10)),
            known,
            Some("; client_max_window_bits=10"),
        ),
        (
            bits(None, Some(10)),
            "permessage-deflate; client_max_window_bits=9",
            Some("; client_max_window_bits=9"),
        ),
        (
            bits(None, Some(10)),
            "permessage-deflate; client_max_window_bits=12",
            Some("; client_max_window_bits=10"),
        ),
        // A client that does not know the parameter cannot be told to use it.
        (bits(None, Some(10)), "permessage-deflate", None),
        (bits(None, Some(15)), "permessage-deflate", Some("")),
        (
            Options {
                server_no_context_takeover: true,
                client_no_context_takeover: true,
                ..OPTIONS
            },
            "permessage-deflate",
            Some("; server_no_context_takeover; client_no_context_takeover"),
        ),
    ] {
        let expected = expected.map(|parameters| format!("permessage-deflate{parameters}"));
        assert_eq!(answer(offer, &options), expected, "{offer} at {options:?}");
    }
    let limited = accept_offer(b"permessage-deflate", &bits(Some(11), None));
    let agreement = limited.unwrap().unwrap().agreement;
    assert_eq!(directions(&agreement), [(15, true), (11, true)]);
    assert_eq!((agreement.threshold, agreement.level), (7, 5));
}

#[test]
fn a_server_agrees_to_no_more_than_its_memory() {
    let inflater = 48_000;
    for (memory, expected, held) in [
        (0, "", [(15, true), (15, true)]),
        (
            compressor_size(12) + inflater,
            "; server_max_window_bits=12",
            [(15, true), (12, true)],
        ),
        (
            inflater,
            "; server_no_context_takeover",
            [(15, true), (15, false)],
        ),
        (
            1,
            "; server_no_context_takeover; client_no_context_takeover",
            [(15, false), (15, false)],
        ),
    ] {
        let options = Options { memory, ..OPTIONS };
        let negotiated = accept_offer(b"permessage-deflate", &options)
            .unwrap()
            .unwrap();
        assert_eq!(negotiated.text, format!("permessage-deflate{expected}"));
        assert_eq!(directions(&negotiated.agreement), held);
    }
}

/// What a client with these options makes of a server's header; no header if it is empty.
fn choose(options: Option<Options>, header: &str) -> Result<UpgradeResponse, UpgradeResponseError> {
    let request = ClientRequest {
        host: "h".into(),
        target: "/".into(),
        deflate: options,
        ..ClientRequest::default()
    };
    let header = match header {
        "" => String::new(),
        value => format!("Sec-WebSocket-Extensions: {value}\r\n"),
    };
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{header}\r\n",
        accept_key(key)
    );
    parse_response(response.as_bytes(), key, &request).map(|parsed| parsed.unwrap().1)
}

#[test]
fn a_client_offers_what_its_options_say() {
    for (options, expected) in [
        (OPTIONS, "; client_max_window_bits"),
        (
            Options {
                server_no_context_takeover: true,
                client_no_context_takeover: true,
                server_max_window_bits: Some(9),
                client_max_window_bits: Some(10),
                ..OPTIONS
            },
            "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9; \
             client_max_window_bits=10",
        ),
        (
            Options {
                memory: compressor_size(11) + 48_000,
                ..OPTIONS
            },
            "; client_max_window_bits=11",
        ),
        (
            Options {
                memory: 1000,
                ..OPTIONS
            },
            "; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
        ),
    ] {
        let request = ClientRequest {
            host: "h".into(),
            target: "/".into(),
            deflate: Some(options),
            ..ClientRequest::default()
        };
        request.check().unwrap();
        let head = request.encode("dGhlIHNhbXBsZSBub25jZQ==");
        let (_, parsed) = parse_request(&head, HeadLimits::default())
            .unwrap()
            .unwrap();
        let expected = format!("permessage-deflate{expected}");
        assert_eq!(parsed.extensions, expected.as_bytes());
        assert!(accept_offer(&parsed.extensions, &OPTIONS)
            .unwrap()
            .is_some());
    }
}

#[test]
fn offers_in_several_headers_are_one_list() {
    let head = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Extensions: foo\r\nsec-websocket-extensions: permessage-deflate; bad, \r\n\
                Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n\r\n";
    let (_, request) = parse_request(head.as_bytes(), HeadLimits::default())
        .unwrap()
        .unwrap();
    let text = answer(std::str::from_utf8(&request.extensions).unwrap(), &OPTIONS);
    assert_eq!(
        text.unwrap(),
        "permessage-deflate; server_max_window_bits=9"
    );
}

#[test]
fn a_client_accepts_what_keeps_to_its_offer() {
    let limited = Options {
        server_no_context_takeover: true,
        server_max_window_bits: Some(11),
        client_max_window_bits: Some(12),
        ..OPTIONS
    };
    for (options, chosen, expected) in [
        (OPTIONS, "", None),
        (OPTIONS, ",", None),
        (
            OPTIONS,
            "permessage-deflate",
            Some([(15, true), (15, true)]),
        ),
        (
            OPTIONS,
            "permessage-deflate; server_max_window_bits=8; client_max_window_bits=\"9\"",
            Some([(9, true), (8, true)]),
        ),
        // A window that zlib cannot keep to: the client then compresses nothing, which it may.
        (
            OPTIONS,
            "permessage-deflate; client_max_window_bits=8",
            Some([(8, true), (15, true)]),
        ),
        (
            OPTIONS,
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
            Some([(15, false), (15, false)]),
        ),
        (
            limited,
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=10",
            Some([(12, true), (10, false)]),
        ),
        // It may do without what it need not keep, whatever the server says.
        (
            Options {
                client_no_context_takeover: true,
                ..OPTIONS
            },
            "permessage-deflate",
            Some([(15, false), (15, true)]),
        ),
    ] {
        let response = choose(Some(options), chosen).unwrap();
        let agreed = response.deflate.as_ref();
        let held = agreed.map(|negotiated| directions(&negotiated.agreement));
        assert_eq!(held, expected, "{chosen}");
        if let Some(negotiated) = agreed {
            assert_eq!(negotiated.text, chosen);
        }
    }
}

#[test]
fn a_client_fails_for_anything_else() {
    let error = |options, chosen: &str| choose(options, chosen).unwrap_err().to_string();
    let parameter = |chosen: &str| error(Some(OPTIONS), &format!("permessage-deflate; {chosen}"));
    for (text, expected) in [
        (
            error(None, "permessage-deflate"),
            "server chose an extension that was not offered: 'permessage-deflate'",
        ),
        (
            error(Some(OPTIONS), "foo"),
            "server chose an extension that was not offered: 'foo'",
        ),
        (
            error(Some(OPTIONS), "permessage-deflate, foo; bar"),
            "server chose an extension that was not offered: 'foo'",
        ),
        (
            error(Some(OPTIONS), "permessage-deflate, permessage-deflate"),
            "server chose an extension twice: 'permessage-deflate'",
        ),
        (
            error(Some(OPTIONS), "permessage-deflate;"),
            "server sent a malformed Sec-WebSocket-Extensions header: 'permessage-deflate;'",
        ),
        (
            parameter("mode=fast"),
            "server chose permessage-deflate with an unknown parameter: 'mode'",
        ),
        (
            parameter("server_no_context_takeover; server_no_context_takeover"),
            "server chose permessage-deflate with the parameter server_no_context_takeover twice",
        ),
        (
            parameter("client_max_window_bits=9; client_max_window_bits=9"),
            "server chose permessage-deflate with the parameter client_max_window_bits twice",
        ),
        (
            parameter("client_max_window_bits"),
            "server chose permessage-deflate with an invalid value of the parameter client_max_window_bits",
        ),
        (
            parameter("server_max_window_bits"),
            "server chose permessage-deflate with an invalid value of the parameter server_max_window_bits",
        ),
        (
            parameter("server_max_window_bits=08"),
            "server chose permessage-deflate with an invalid value of the parameter server_max_window_bits",
        ),
        (
            parameter("client_no_context_takeover=yes"),
            "server chose permessage-deflate with an invalid value of the parameter client_no_context_takeover",
        ),
    ] {
        assert_eq!(text, expected);
    }
}

#[test]
fn a_client_holds_a_server_to_its_offer() {
    let limited = Options {
        server_no_context_takeover: true,
        server_max_window_bits: Some(11),
        client_max_window_bits: Some(12),
        ..OPTIONS
    };
    for (parameters, expected) in [
        (
            "server_max_window_bits=11",
            "server chose permessage-deflate without server_no_context_takeover, which was asked for",
        ),
        (
            "server_no_context_takeover; server_max_window_bits=12",
            "server chose permessage-deflate with server_max_window_bits=12, but at most 11 was asked for",
        ),
        (
            "server_no_context_takeover",
            "server chose permessage-deflate with server_max_window_bits=15, but at most 11 was asked for",
        ),
        (
            "server_no_context_takeover; server_max_window_bits=9; client_max_window_bits=13",
            "server chose permessage-deflate with client_max_window_bits=13, but at most 12 was asked for",
        ),
    ] {
        let chosen = format!("permessage-deflate; {parameters}");
        let error = choose(Some(limited), &chosen).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
