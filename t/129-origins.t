use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use RawPeer;
use Run;
use Test::More;

# listen(origins => [...]): which pages may open a WebSocket here.

my $context = EV::Websockets::Context->new;

sub status_for {
    my ($port, $origin, @host) = @_;
    my $peer = RawPeer->connect($port);
    $peer->upgrade(headers => { (defined $origin ? (Origin => $origin) : ()), (@host ? (Host => @host) : ()) });
    wait_until(sub { defined $peer->head });
    return $peer->status;
}

# Origins that are let in, and others that are not.
sub lets_in {
    my ($origins, $yes, $no) = @_;
    my @called;
    my $name = join ' ', @$origins;
    for my $asked (0, 1) {
        my $port = $context->listen(origins => $origins,
            $asked ? (on_handshake => sub { push @called, $_[0]{Origin}; 1 }) : ());
        is(status_for($port, $_), 101, "$name: $_ may") for @$yes;
        is(status_for($port, $_), 403, "$name: $_ may not") for @$no;
        is(status_for($port, undef), 101, "$name: whoever is no browser may");
    }
    is_deeply(\@called, [ @$yes, undef ], "$name: on_handshake hears of those alone");
    is(join('', warned()), '', "$name: no warning");
    return;
}

my $site = 'https://example.com';
lets_in([$site], [ $site, "$site:443", 'HTTPS://EXAMPLE.com' ],
    [ 'http://example.com', "$site:8443", "$site.evil.org", 'https://www.example.com', 'null', 'https://evil.org', '',
        "$site/", "$site, https://evil.org", [ $site, 'https://evil.org' ] ]);
lets_in(['http://localhost:8080'], ['http://localhost:8080'], [ 'http://localhost', 'https://localhost:8080' ]);
lets_in(['http://[::1]:8080'], ['http://[::1]:8080'], ['http://[::1]']);
lets_in(['*.example.com'], [ 'https://a.example.com', 'http://a.b.example.com' ],
    [ $site, 'https://evilexample.com', 'https://a.example.com:8443', 'https://a.example.com.evil.org' ]);
lets_in(['https://*.example.com:8443'], ['https://a.example.com:8443'],
    [ 'https://a.example.com', 'http://a.example.com:8443' ]);
# Without a scheme any was let in: the pages of apps, and what a script calls itself.
lets_in(['localhost'], [ 'http://localhost', 'https://localhost' ],
    [ 'capacitor://localhost', 'ionic://localhost', 'file://localhost', 'ws://localhost' ]);
lets_in(['*.example.com'], [], [ 'javascript://a.example.com', 'chrome-extension://a.example.com' ]);
lets_in(['capacitor://localhost'], ['capacitor://localhost'], ['http://localhost']);
lets_in(['null'], ['null'], [ $site, 'nulls' ]);
# The peer asks for 127.0.0.1, on whatever port.
lets_in(['same'], [ 'http://127.0.0.1', 'https://127.0.0.1', 'https://127.0.0.1:443' ],
    [ 'http://127.0.0.1:8080', 'http://localhost', 'app://127.0.0.1', 'null', 'same', $site ]);
lets_in([ 'same', 'null' ], [ 'http://127.0.0.1', 'null' ], [$site]);
lets_in([], [], [ $site, 'null' ]);
lets_in([ $site, 'null', 'https://other.org' ], [ $site, 'null', 'https://other.org' ], ['https://third.org']);
lets_in([qr{\Ahttps://[a-z]+\.example\.com\z}], ['https://a.example.com'], [ $site, 'https://A.example.com' ]);
lets_in([ $site, qr/\.org\z/, qr/\.net\z/i ], [ $site, 'https://a.org', 'https://a.NET' ], ['https://a.com']);

{
    my $port = $context->listen(origins => [ 'same', qr/\.example\z/ ]);
    for my $case (
        [ 'http://h:8080', 'h:8080', 101 ], [ 'http://H:8080', 'h:8080', 101 ], [ 'http://h:80', 'h', 101 ],
        [ 'https://h', 'h:443', 101 ], [ 'https://[::1]:8443', '[::1]:8443', 101 ], [ 'https://a.example', 'h', 101 ],
        [ 'http://h:8080', 'h', 403 ], [ 'http://h', 'h:8080', 403 ], [ 'https://h', 'h:80', 403 ],
        [ 'http://www.h', 'h', 403 ], [ 'http://h.evil', 'h', 403 ], [ 'http://', '', 403 ],
    ) {
        my ($origin, $host, $status) = @$case;
        is(status_for($port, $origin, $host), $status, "same: $origin at Host '$host'");
    }
}

# A pattern is Perl code, and may do what that does.
{
    our ($code, $seen) = (sub { }, 0);
    my $pattern = do { use re 'eval'; my $text = '(?{ $main::seen++; $main::code->() })https'; qr/\A$text/ };
    my $port = $context->listen(origins => [$pattern]);
    is(status_for($port, $site), 101, 'a pattern with code');
    is(status_for($port, 'http://example.com'), 403, 'that does not match');
    cmp_ok($seen, '>', 0, 'the code runs');
    $code = sub { die "thrown on purpose\n" };
    is(status_for($port, $site), 403, 'a pattern that dies lets nobody in');
    is(join('', warned()), "EV::Websockets: exception in origins: thrown on purpose\n", 'and is warned of');
    my $doomed = EV::Websockets::Context->new;
    my $peer = RawPeer->connect($doomed->listen(origins => [$pattern], on_handshake => sub { die 'not to be called' }));
    $code = sub { undef $doomed };
    $peer->upgrade(headers => { Origin => $site });
    run_until(sub { $peer->eof }, 'one that destroys the context');
    is($peer->head, undef, 'answers nobody');
}

# With all the rest: the decision comes later, a page is served to everybody.
{
    my $handshake;
    my $port = $context->listen(origins => [qr/example/], on_handshake => sub { $handshake = $_[1] },
        on_request => sub { [ 200, [], ['page'] ] });
    my $peer = RawPeer->connect($port)->upgrade(headers => { Origin => $site });
    run_until(sub { $handshake }, 'a handshake that is decided later');
    $handshake->accept;
    run_until(sub { ($peer->status || 0) == 101 }, 'is accepted');
    my $page = RawPeer->connect($port)->put("GET / HTTP/1.1\r\nHost: h\r\nOrigin: https://evil.org\r\n\r\n");
    run_until(sub { defined $page->head && $page->rest eq 'page' }, 'a page is not an upgrade');
}

for my $case (
    [ $site, qr/must be an array reference \(got 'https:\/\/example.com'\)/ ],
    [ {}, qr/must be an array reference/ ],
    # This was the same as no option: a key misspelt in a configuration let every page in.
    [ undef, qr/must be an array reference \(got 'undef'\)/ ],
    [ [undef], qr/number 1 must be a string/ ],
    [ [ $site, {} ], qr/number 2 must be a string/ ],
    [ ['*'], qr/'\*' is no origin \('\*\.' stands for/ ],
    [ ["$site/"], qr/'https:\/\/example\.com\/' is no origin \(an origin has no path/ ],
    [ ["$site/chat"], qr/an origin has no path/ ],
    [ ["$site:0"], qr/its port must be/ ],
    [ [''], qr/'' is no origin/ ],
    [ ["https://b\xFCcher.example"], qr/is no origin/ ],
    [ ["\n"], qr/'\\n' is no origin/ ],
) {
    my ($origins, $text) = @$case;
    croaks_like { $context->listen(origins => $origins) } qr/\Alisten: origins.*$text/s, "a croak: $text";
}

finish();
