use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Browser;
use EV;
use EV::Websockets;
use Interop qw(await);
use Interop::Deflate qw(settings setting_name with_our_server);
use Interop::Talk;
use RawServer;
use Run;

# permessage-deflate with a browser: a page, served from here, opens WebSockets
# to our server. Browsers offer the extension by themselves.

plan skip_all => 'Chromium is not installed' if !Browser->program;

my $page = do { open my $in, '<:raw', "$Bin/peers/deflate.html" or die "deflate.html: $!\n"; local $/; <$in> };
my $http = RawServer->new(answer => sub {
    my ($peer, $head) = @_;
    my ($status, $body) = $head =~ m{\AGET /page\?} ? ('200 OK', $page) : ('404 Not Found', '');
    $peer->put("HTTP/1.1 $status\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: "
        . length($body) . "\r\n\r\n$body")->finish_writing;
});

my $browser;
END { $browser->end if $browser }

sub visit {
    my @urls = @_;
    $browser = Browser->start('http://127.0.0.1:' . $http->port . '/page?' . join '&', map { "url=$_" } @urls);
    # Starting takes it a while on a busy machine.
    my $there = 0;
    for my $try (1 .. 3) {
        $there ||= wait_until(sub { grep { defined $_->head } $http->peers });
    }
    ok($there, 'the browser loads the page') or $browser->show_log;
    return;
}

# It cannot be asked for anything, but it says that its window can be smaller.
my @settings = settings();
with_our_server(
    'Chromium', \&visit,
    [ 'defaults', 1, { server_no_context_takeover => 1, client_no_context_takeover => 1 }, 1 ],
    map { [ 'we ask for ' . setting_name($_), $_, $_, 1 ] } @settings,
);
$browser->end;

# Messages of the page's own, compressed and not.
my $context = EV::Websockets::Context->new;
my @deflate = (1, { server_no_context_takeover => 0, client_no_context_takeover => 0 }, 0);
my @listeners = map { Interop::Talk::Listener->new($context, deflate => $_) } @deflate;
visit(map { "ws://127.0.0.1:$_->{port}/" } @listeners);
for my $deflate (@deflate) {
    my $talk = (shift @listeners)->accept;
    my $name = 'messages of the page, deflate ' . (ref $deflate ? 'with takeover' : $deflate);
    like($talk->header('Sec-WebSocket-Extensions'), qr/permessage-deflate; client_max_window_bits/, "$name: it offers");
    my $extensions = $talk->{conn}->extensions;
    is(($talk->next_message)[0], 'extensions=' . (defined $extensions ? $extensions : ''), "$name: both see the same");
    is(defined $extensions ? 1 : 0, $deflate ? 1 : 0, "$name: compressed or not");
    $talk->{conn}->send('!own');
    while (1) {
        my ($bytes, $is_binary) = $talk->next_message;
        if ($bytes =~ /\Aown=(.*)/s) {
            is($1, '10 sent, 0 wrong ', "$name: came back as they were");
            last;
        }
        $is_binary ? $talk->{conn}->send_binary($bytes) : $talk->{conn}->send($bytes);
    }
    $talk->{conn}->close(1000);
    $talk->next_close;
    is($talk->{error}, undef, "$name: without an error");
}
$browser->end;

finish;
