import java.io.BufferedInputStream;
import java.io.FileInputStream;
import java.io.InputStream;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.zip.GZIPInputStream;

/** java.util.zip: lines and SHA-256 of the text of gzip files, in the order in which they are named. */
public class Read {
    public static void main(String[] paths) throws Exception {
        MessageDigest hash = MessageDigest.getInstance("SHA-256");
        long lines = 0;
        byte[] buffer = new byte[1 << 16];
        for (String path : paths) {
            try (InputStream text = new GZIPInputStream(new BufferedInputStream(new FileInputStream(path)))) {
                for (int len = text.read(buffer); len >= 0; len = text.read(buffer)) {
                    hash.update(buffer, 0, len);
                    for (int at = 0; at < len; at++) {
                        lines += buffer[at] == '\n' ? 1 : 0;
                    }
                }
            }
        }
        System.out.println(lines + " " + HexFormat.of().formatHex(hash.digest()));
    }
}
