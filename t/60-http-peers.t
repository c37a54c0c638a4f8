use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use File::Spec;
use File::Temp qw(tempdir);
use IO::Handle;
use POSIX ();
use Run;
use Test::More;

# Plain requests of clients that other people have written: curl, Python's
# http.client, and fetch of Node. What each prints is compared.

my $folder = tempdir(CLEANUP => 1);
my $context = EV::Websockets::Context->new;
my (%connections, @schemes);
my $large = join ',', 1 .. 2_000_000;
my %serve = (on_request => sub {
    my ($request) = @_;
    push @schemes, $request->{scheme};
    my $path = $request->{path};
    return [ 200, [ 'Content-Type' => 'text/plain' ], [$large] ] if $path eq '/large';
    return [ 204, [], [] ] if $path eq '/none';
    return [ 302, [ Location => '/echo?moved' ], [] ] if $path eq '/moved';
    return [ 200, [ 'Content-Type' => 'text/plain', 'X-Method' => $request->{method} ],
        [ join '|', $request->{method}, $path, defined $request->{query} ? $request->{query} : '', $request->{body} ] ];
});
my $port = $context->listen(%serve);
my $url = "http://127.0.0.1:$port";
my $socket = "$folder/http.sock";
$context->listen(%serve, path => $socket);

sub found { return grep { -x } map { File::Spec->catfile($_, $_[0]) } File::Spec->path }

# Runs a program beside the loop, and returns what it prints.
sub output_of {
    my ($name, @command) = @_;
    pipe my $out, my $in or die "pipe: $!";
    my $pid = fork;
    defined $pid or die "fork: $!";
    if (!$pid) {
        open STDIN,  '<',  File::Spec->devnull;
        open STDOUT, '>&', $in;
        delete @ENV{ grep { /_proxy\z/i } keys %ENV };
        { no warnings 'exec'; exec { $command[0] } @command }
        POSIX::_exit(127);
    }
    close $in;
    $out->blocking(0);
    my ($text, $end, $status) = ('', 0, undef);
    my $reader = EV::io($out, EV::READ(), sub { $end = 1 if !sysread $out, $text, 65536, length $text });
    my $child = EV::child($pid, 0, sub { $status = $_[0]->rstatus });
    run_until(sub { $end && defined $status }, "$name: ends") or kill KILL => $pid;
    is($status, 0, "$name: well");
    return $text;
}

SKIP: {
    skip 'curl is not installed', 1 if !found('curl');
    my @curl = qw(curl -sS --max-time 60);
    is(output_of('curl', @curl, "$url/echo?a=1"), 'GET|/echo|a=1|', 'curl: GET');
    is(output_of('curl', @curl, '-d', 'x=1', "$url/echo"), 'POST|/echo||x=1', 'curl: POST');
    is(output_of('curl', @curl, '-d', 'x=1', '-H', 'Transfer-Encoding: chunked', "$url/echo"), 'POST|/echo||x=1',
        'curl: in chunks');
    is(output_of('curl', @curl, '-L', "$url/moved"), 'GET|/echo|moved|', 'curl: a redirection on the same connection');
    is(output_of('curl', @curl, '--http1.0', "$url/echo"), 'GET|/echo||', 'curl: HTTP/1.0');
    # curl asks for 100 by itself where there is much to send.
    my $much = "$folder/much";
    open my $file, '>', $much or die "$much: $!";
    print {$file} 'x' x 60_000;
    close $file;
    my $put = output_of('curl', @curl, '-v', '--stderr', '-', '-H', 'Expect: 100-continue', '-T', $much, "$url/echo");
    like($put, qr/^< HTTP\/1\.1 100 Continue\r$/m, 'curl: waits for 100');
    like($put, qr/PUT\|\/echo\|\|x{60000}/, 'curl: PUT');
    like(output_of('curl', @curl, '-I', "$url/echo"), qr/\AHTTP\/1\.1 200 OK\r\n.*^Content-Length: 12\r$/ms, 'curl: HEAD');
    ok(output_of('curl', @curl, "$url/large") eq $large, 'curl: a large page');
    my @connects = split /\n/, output_of('curl', @curl, map({ ("$url/echo?$_", '-o', "$folder/$_") } 1 .. 5),
        '-w', '%{num_connects}\n');
    is(join(' ', @connects), '1 0 0 0 0', 'curl: five pages over one connection');
    is(output_of('curl', @curl, '--unix-socket', $socket, 'http://unix/echo'), 'GET|/echo||', 'curl: over a Unix socket');

    skip 'openssl is not installed', 1 if !found('openssl');
    require Certificates;
    my $made = Certificates->new;
    $made->ca('ca');
    $made->issue('server', issuer => 'ca');
    @schemes = ();
    my $secure = $context->listen(%serve, ssl_cert => $made->file('server.pem'), ssl_key => $made->file('server.key'));
    my $https = "https://localhost:$secure";
    my @tls = (@curl, '--cacert', $made->file('ca.pem'), '--resolve', "localhost:$secure:127.0.0.1");
    is(output_of('curl', @tls, "$https/echo?1"), 'GET|/echo|1|', 'curl: over TLS');
    is(join(' ', @schemes), 'https', 'curl: which the program is told');
    ok(output_of('curl', @tls, "$https/large") eq $large, 'curl: a large page over TLS');
    @connects = split /\n/, output_of('curl', @tls, map({ ("$https/echo?$_", '-o', "$folder/$_") } 1 .. 5),
        '-w', '%{num_connects}\n');
    is(join(' ', @connects), '1 0 0 0 0', 'curl: five pages over one session');

    # More requests in one record than are read at a time.
    skip 'Python is not installed', 1 if !found('python3');
    my $script = <<'PYTHON';
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
with context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))), server_hostname="localhost") as s:
    s.sendall(b"".join(b"GET /echo?%d HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % (i, b"Connection: close\r\n" if i == 399 else b"")
        for i in range(400)))
    got = b""
    while True:
        part = s.recv(65536)
        if not part: break
        got += part
answers = [part.split(b"HTTP/1.1 ")[0] for part in got.split(b"\r\n\r\n")[1:]]
print(answers == [b"GET|/echo|%d|" % i for i in range(400)])
PYTHON
    is(output_of('Python', 'python3', '-c', $script, $secure, $made->file('ca.pem')), "True\n",
        'Python: 400 requests at once over TLS');
}

SKIP: {
    my ($python) = grep { found($_) } 'python3';
    skip 'Python is not installed', 1 if !$python;
    my $script = <<'PYTHON';
import http.client, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
c.connect()
sock = c.sock
def show(method, path, **o):
    c.request(method, path, **o)
    r = c.getresponse()
    body = r.read()
    print(r.status, r.getheader("Content-Length"), len(body), body[:40].decode(), c.sock is sock)
show("GET", "/echo")
show("HEAD", "/echo")
show("POST", "/echo", body=b"body")
show("POST", "/echo", body=iter([b"in ", b"chunks"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
show("DELETE", "/none")
show("GET", "/large")
show("GET", "/echo", headers={"Connection": "close"})
PYTHON
    my $said = output_of('Python', $python, '-c', $script, $port);
    my $length = length $large;
    is($said, join("\n", '200 11 11 GET|/echo|| True', '200 12 0  True', '200 16 16 POST|/echo||body True',
        '200 21 21 POST|/echo||in chunks True', '204 None 0  True', "200 $length $length " . substr($large, 0, 40) . ' True',
        '200 11 11 GET|/echo|| False', ''), 'Python: seven requests over one connection');
}

SKIP: {
    my ($node) = grep { found($_) } 'node', 'nodejs';
    skip 'Node is not installed', 1 if !$node;
    my $script = <<'JS';
const base = process.argv[1];
(async () => {
    if (typeof fetch === "undefined") { console.log("no fetch"); return; }
    for (const [path, options] of [
        ["/echo?a=b", {}], ["/echo", { method: "POST", body: "text" }], ["/echo", { method: "HEAD" }],
        ["/moved", {}], ["/none", { method: "DELETE" }], ["/large", {}],
    ]) {
        const r = await fetch(base + path, options);
        const text = await r.text();
        console.log(r.status, r.headers.get("x-method"), text.length, text.slice(0, 30));
    }
    const all = await Promise.all([...Array(50).keys()].map(i => fetch(`${base}/echo?${i}`).then(r => r.text())));
    console.log(all.every((text, i) => text === `GET|/echo|${i}|`));
})();
JS
    my $said = output_of('Node', $node, '-e', $script, $url);
    skip 'this Node has no fetch', 1 if $said eq "no fetch\n";
    is($said, join("\n", '200 GET 14 GET|/echo|a=b|', '200 POST 16 POST|/echo||text', '200 HEAD 0 ', '200 GET 16 GET|/echo|moved|',
        '204 null 0 ', '200 null ' . length($large) . ' ' . substr($large, 0, 30), 'true', ''), 'Node: fetch');
}

finish();
