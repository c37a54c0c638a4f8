use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Chromium;
use EV::Websockets;
use Interop::Deflate qw(settings setting_name with_our_server);
use Interop::Talk;
use Run;

# permessage-deflate with a browser: a page, served from here, opens WebSockets
# to our server. Browsers offer the extension by themselves.

plan skip_all => 'Chromium is not installed' if !Chromium::find();

my $http = Chromium::serve("$Bin/peers/deflate.html");
my $browser;
sub visit { $browser = Chromium->visit($http, [@_]) }

# It cannot be asked for anything, but it says that its window can be smaller.
my @settings = settings();
with_our_server(
    'Chromium', \&visit,
    [ 'defaults', 1, { server_no_context_takeover => 1, client_no_context_takeover => 1 }, 1 ],
    map { [ 'we ask for ' . setting_name($_), $_, $_, 1 ] } @settings,
);
undef $browser;

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
undef $browser;

finish;
